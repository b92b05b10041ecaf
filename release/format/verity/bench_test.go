package verity

import (
	"bufio"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// BenchmarkFormatAgainstVeritysetup hashes the same GiB of random bytes with both, in turn. It reports how many times
// as fast as veritysetup we are, and all memory that one run asked for, which is more than it ever held at once.
func BenchmarkFormatAgainstVeritysetup(b *testing.B) {
	needs.Programs(b, "veritysetup")
	b.Run("random", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "data")
		writeFile(b, path, func(f *os.File) {
			buffered := bufio.NewWriterSize(f, 1<<20)
			_, err := io.CopyN(buffered, rand.NewChaCha8([32]byte{1}), int64(size.GiB))
			check(b, err)
			check(b, buffered.Flush())
		})
		formatBoth(b, path, size.GiB)
	})
	// Partitions of releases made before, half of which is unused.
	partitions, err := filepath.Glob("../../../_output/*/*/usr.bin")
	check(b, err)
	for _, path := range partitions {
		b.Run(filepath.Base(filepath.Dir(filepath.Dir(path))), func(b *testing.B) { formatBoth(b, path, 260094*BlockSize) })
	}
}

// formatBoth lets both tools hash the first dataSize bytes of a file.
func formatBoth(b *testing.B, path string, dataSize size.Bytes) {
	b.Helper()
	p := Params{DataBlocks: uint64(dataSize / BlockSize), Salt: testSalt, UUID: testUUID}
	data := openFile(b, path)

	var theirs, ours time.Duration
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for b.Loop() {
		start := time.Now()
		want := veritysetupFormat(b, path, filepath.Join(b.TempDir(), "theirs"), p)
		theirs += time.Since(start)

		start = time.Now()
		hash, err := os.Create(filepath.Join(b.TempDir(), "ours"))
		check(b, err)
		got, err := Format(b.Context(), data, hash, 0, p)
		check(b, err)
		check(b, hash.Close())
		ours += time.Since(start)
		if got != want {
			b.Fatalf("root hash is %v; veritysetup says %v", got, want)
		}
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times-veritysetup")
	b.ReportMetric(float64(dataSize)*float64(b.N)/ours.Seconds()/float64(size.MiB), "MiB/s")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/float64(size.MiB), "MiB-allocated/op")
}

// BenchmarkRehashAgainstVeritysetup changes 5 MiB in the middle of a GiB of random bytes, as a release does with one image, and brings the
// hash tree up to date, while veritysetup makes it anew. It reports how many times as fast we are.
func BenchmarkRehashAgainstVeritysetup(b *testing.B) {
	needs.Programs(b, "veritysetup")
	const offset, image = int64(size.GiB), 5 << 20
	random := rand.NewChaCha8([32]byte{1})
	path := filepath.Join(b.TempDir(), "data")
	writeFile(b, path, func(f *os.File) {
		buffered := bufio.NewWriterSize(f, 1<<20)
		_, err := io.CopyN(buffered, random, offset)
		check(b, err)
		check(b, buffered.Flush())
	})
	p := Params{DataBlocks: uint64(offset / BlockSize), Salt: testSalt, UUID: testUUID}
	format(b, openFile(b, path), path, offset, p)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	check(b, err)
	defer f.Close()

	var theirs, ours time.Duration
	changed := make([]byte, image)
	for b.Loop() {
		fill(random, changed)
		_, err := f.WriteAt(changed, offset/2)
		check(b, err)
		start := time.Now()
		want := veritysetupFormat(b, path, filepath.Join(b.TempDir(), "theirs"), p)
		theirs += time.Since(start)

		start = time.Now()
		got, err := Rehash(b.Context(), f, offset, p, Range{offset / 2, image})
		check(b, err)
		ours += time.Since(start)
		if got != want {
			b.Fatalf("root hash is %v; veritysetup says %v", got, want)
		}
	}
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times-veritysetup")
}
