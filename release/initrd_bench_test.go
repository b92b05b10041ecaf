package release

import (
	"syscall"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/size"
)

// BenchmarkInitrds makes the images for initramfs of all platforms that ask for one, in all forms, from trees that are there:
// what they add to the time that a release takes. A time of their own keeps earlier runs' images from being found. The most
// memory is this process's, without the programs that it runs; it counts only when nothing else was made before.
//
//	go test -run '^$' -bench Initrds -benchtime 3x -timeout 1h ./release
func BenchmarkInitrds(b *testing.B) {
	theRelease(b)
	w := *made.workshop
	w.Epoch = time.Now()
	for b.Loop() {
		w.madeInitrds = nil
		w.Epoch = w.Epoch.Add(-time.Minute)
		all, err := w.initrds(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		var most float64
		for _, i := range all {
			for _, suffix := range []string{systemdForm, pxeForm} {
				most = max(most, 100*float64(formOf(i, suffix).Size)/float64(i.Image.Size)-100)
			}
		}
		b.ReportMetric(most, "%-around-image")
	}
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(used.Maxrss)/float64(size.MiB/size.KiB), "MiB")
}
