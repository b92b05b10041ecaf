package payload

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
)

// BenchmarkWriteAgainstBzip2 makes payloads of partitions of releases made before, of text and of random bytes, and
// lets the parallel bzip2 programs compress the same bytes in turn. It reports how many times as fast as each of them
// we are, how long a payload is for each byte of the image, and the most memory that this process held for it, to
// which each compressor adds what one chunk takes it.
func BenchmarkWriteAgainstBzip2(b *testing.B) {
	dir := b.TempDir()
	images := map[string]string{"text": filepath.Join(dir, "text"), "random": filepath.Join(dir, "random")}
	check(b, os.WriteFile(images["text"], text(128<<20), 0o644))
	check(b, os.WriteFile(images["random"], random(128<<20, 1), 0o644))
	debug.FreeOSMemory() // of what was written
	partitions, err := filepath.Glob("../../../_output/*/*/usr.bin")
	check(b, err)
	for _, path := range partitions {
		path, err := filepath.Abs(path)
		check(b, err)
		images["usr-"+filepath.Base(filepath.Dir(filepath.Dir(path)))] = path
	}
	tools, err := toolroottest.With(b, toolroot.Suite)(b.Context(), "", []string{"lbzip2", "pbzip2"})
	check(b, err)
	key := newKey(b, 2048).Public()
	for name, path := range images {
		b.Run(name, func(b *testing.B) {
			f, err := os.Open(path)
			check(b, err)
			defer f.Close()
			info, err := f.Stat()
			check(b, err)
			w := compressing(b, runtime.NumCPU())
			var ours, pbzip2, lbzip2 time.Duration
			var held float64
			var out counter
			check(b, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)) // forgets the most that was held before
			for b.Loop() {
				ours += timed(b, func() error {
					out = 0
					_, err := w.Write(b.Context(), &out, key, Source{f, size.Bytes(info.Size())}, nil)
					return err
				})
				held = peak(b)
				theirs := func(program string, args ...string) time.Duration {
					return timed(b, func() error {
						return tools.Run(b.Context(), toolroot.Cmd{Program: program, Args: append(args, path), Read: []string{path}})
					})
				}
				pbzip2 += theirs("pbzip2", "-9", "-b10", "-k", "-c")
				lbzip2 += theirs("lbzip2", "-9", "-k", "-c")
			}
			b.ReportMetric(pbzip2.Seconds()/ours.Seconds(), "times-pbzip2")
			b.ReportMetric(lbzip2.Seconds()/ours.Seconds(), "times-lbzip2")
			b.ReportMetric(float64(info.Size())*float64(b.N)/ours.Seconds()/float64(size.MiB), "MiB/s")
			b.ReportMetric(float64(out)/float64(info.Size()), "bytes/byte")
			b.ReportMetric(held, "MiB-peak")
		})
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func timed(b *testing.B, work func() error) time.Duration {
	b.Helper()
	start := time.Now()
	check(b, work())
	return time.Since(start)
}

// peak returns the most that this process held, in MiB.
func peak(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	check(b, err)
	_, high, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(high)[0])
	check(b, err)
	return float64(kib) / 1024
}
