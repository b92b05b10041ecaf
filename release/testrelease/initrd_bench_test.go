package testrelease

import (
	"context"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/plan/early"
)

// BenchmarkInitrds makes the images for initramfs of all platforms that ask for one, in all forms, from trees that are there:
// what they add to the time that a release takes. A time of their own keeps earlier runs' images from being found. Reported is also
// the most memory of this process, and of all the programs that it runs at a time.
//
//	go test -run '^$' -bench Initrds -benchtime 3x -timeout 1h ./release/testrelease
func BenchmarkInitrds(b *testing.B) {
	made := Made(b)
	base := *made.Base
	base.Epoch = time.Now()
	maker, err := (&plan.Planner{Bench: made.Bench, Choice: made.Choice, Base: &base, Keys: made.Keys}).EarlyMaker(b.Context(), made.Planned.Content.Trust)
	if err != nil {
		b.Fatal(err)
	}
	debug.FreeOSMemory()
	ForgetPeak(b)
	var programs atomic.Int64
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	go watchMemory(ctx, &programs)
	for b.Loop() {
		base.Epoch = base.Epoch.Add(-time.Minute)
		all, err := maker.Images(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		var most float64
		for _, i := range all {
			for _, suffix := range []string{early.SystemdForm, early.PXEForm} {
				most = max(most, 100*float64(early.FileOf(i, suffix).Size)/float64(i.Image.Size)-100)
			}
		}
		b.ReportMetric(most, "%-around-image")
	}
	b.ReportMetric(Peak(b), "MiB")
	b.ReportMetric(float64(programs.Load())/float64(size.MiB), "MiB-of-programs")
}
