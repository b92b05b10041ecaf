package testrelease

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/publish/ci"
)

// BenchmarkBuild builds the images of all platforms for both architectures, as scripts/mage build does, with nothing of earlier runs
// but downloads: not the tool root, no base, no compiled package of Go. It reports how long that takes, and the most memory that
// all processes had at a time (pages that several share count for each).
//
//	go test -run '^$' -bench 'Build$' -benchtime 1x -timeout 1h ./release
func BenchmarkBuild(b *testing.B) {
	made := Made(b) // so that there are downloads
	for b.Loop() {
		for _, a := range []arch.Arch{arch.AMD64, arch.ARM64} { // the first time for downloads
			o := Options(b, made.Options.Cache, b.TempDir())
			o.Arch = a
			if _, err := release.Build(b.Context(), o); err != nil {
				b.Fatal(err)
			}
		}
		o := cleanMachine(b, "downloads")
		var all time.Duration
		var most atomic.Int64
		for _, a := range []arch.Arch{arch.AMD64, arch.ARM64} {
			o.Arch = a
			ctx, stop := context.WithCancel(b.Context())
			go watchMemory(ctx, &most)
			_, took := does(b, o, "build", ci.Part{})
			stop()
			all += took
			b.ReportMetric(took.Seconds(), string(a)+"-s")
		}
		b.ReportMetric(all.Seconds(), "both-s")
		b.ReportMetric(float64(most.Load())/float64(size.MiB), "MiB")
	}
}
