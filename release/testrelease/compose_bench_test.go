package testrelease

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Ten foreign extensions, each with so many files of 1 MiB that do not compress, so that its image is as large as what is in it.
const (
	benchExtensions = 10
	benchFiles      = 50
)

// BenchmarkCompose reads, judges and embeds ten extensions of 50 MiB on top of the default release, against copying and hashing the
// ten images and the same embedding. Their ratio is reported as compose/copy+embed; peak-MiB is what this process had in memory at most
// meanwhile, and child-MiB what the largest program had that it ever ran.
//
//	go test -run '^$' -bench Compose -benchtime 3x -timeout 1h ./release
func BenchmarkCompose(b *testing.B) {
	theRelease(b)
	o := options(b, made.workshop.Cache, b.TempDir())
	o.Profile = benchProfile(b)
	w, err := open(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	defer w.close()
	kept := w.results
	var composing, copying, embedding time.Duration
	for b.Loop() {
		w.results, err = store.OpenResults(b.TempDir(), w.blobs, nil) // with nothing of these extensions in it
		if err != nil {
			b.Fatal(err)
		}
		factory, err := w.factory(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if j, err := w.newJudge(factory); err != nil {
			b.Fatal(err)
		} else if _, err := j.checker.Tree(b.Context(), nil); err != nil { // what is asked of the base alone
			b.Fatal(err)
		}
		forgetPeak(b)
		started := time.Now()
		if w.extensions, err = w.compose(b.Context(), factory, made.staged); err != nil {
			b.Fatal(err)
		}
		composing += time.Since(started)

		copying += copyAndHash(b, w)

		cold := w.results
		w.results = kept // plans of OEM tools were made before
		empty, err := w.format(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		plan, err := w.fit(b.Context(), factory, made.staged, empty)
		if err != nil {
			b.Fatal(err)
		}
		w.results = cold
		started = time.Now()
		full, err := w.embed(b.Context(), empty, plan.images)
		if err != nil {
			b.Fatal(err)
		}
		embedding += time.Since(started)
		b.StopTimer()
		w.removeBenchBlobs(full)
		b.StartTimer()
	}
	b.ReportMetric((composing+embedding).Seconds()/(copying+embedding).Seconds(), "compose/copy+embed")
	b.ReportMetric(composing.Seconds()/float64(b.N), "compose-s")
	b.ReportMetric(copying.Seconds()/float64(b.N), "copy-s")
	b.ReportMetric(embedding.Seconds()/float64(b.N), "embed-s")
	b.ReportMetric(peak(b), "peak-MiB")
	var children syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(children.Maxrss)/1024, "child-MiB")
}

// benchProfile makes the images, and a profile of them that is else the default one.
func benchProfile(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	profile := strings.Replace(profileHead, "images: 36 MiB", "images: 640 MiB", 1)
	random := rand.NewChaCha8([32]byte{9})
	content := make([]byte, size.MiB)
	for n := range benchExtensions {
		name := fmt.Sprintf("bench%d", n)
		from := filepath.Join(dir, name)
		for path, text := range map[string]string{
			"usr/lib/extension-release.d/extension-release." + name: "ID=flatcar\nSYSEXT_LEVEL=1.0\n", "usr/bin/" + name: "#!/bin/sh\n", "usr/share/" + name + "/readme": "",
		} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(from, path)), 0o755); err != nil {
				b.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(from, path), []byte(text), 0o755); err != nil {
				b.Fatal(err)
			}
		}
		for i := range benchFiles {
			_, _ = random.Read(content) // never fails
			if err := os.WriteFile(filepath.Join(from, "usr/share", name, strconv.Itoa(i)), content, 0o644); err != nil {
				b.Fatal(err)
			}
		}
		err := made.workshop.tools.Run(b.Context(), toolroot.Cmd{
			Program: "mksquashfs", Args: []string{from, from + ".raw", "-quiet", "-no-progress", "-comp", "zstd"}, Write: []string{dir},
		})
		if err != nil {
			b.Fatal(err)
		}
		if err := os.RemoveAll(from); err != nil {
			b.Fatal(err)
		}
		profile += fmt.Sprintf("- {name: %s, file: %s.raw, enable: by-name}\n", name, name)
	}
	file := filepath.Join(dir, "bench.yaml")
	if err := os.WriteFile(file, []byte(profile), 0o600); err != nil {
		b.Fatal(err)
	}
	return file
}

// copyAndHash is the least that can be done with the images, as many at a time as are composed at a time.
func copyAndHash(b *testing.B, w *workshop) time.Duration {
	b.Helper()
	scratch, err := os.MkdirTemp(w.scratch.Dir, "copies.")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(scratch)
	blobs, err := store.OpenBlobs(filepath.Join(scratch, "blobs"), scratch)
	if err != nil {
		b.Fatal(err)
	}
	started := time.Now()
	var group errgroup.Group
	group.SetLimit(w.Jobs)
	for _, x := range w.profile.Extensions {
		group.Go(func() error {
			f, err := os.Open(w.profile.Path(x.File.Value))
			if err != nil {
				return err
			}
			defer f.Close()
			_, _, err = blobs.Add(f)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Since(started)
}

// removeBenchBlobs leaves the cache as it was: these are gigabytes that nobody asks for again.
func (w *workshop) removeBenchBlobs(full partition) {
	os.Remove(w.blobs.Path(full.SHA256))
	for _, x := range w.extensions {
		os.Remove(w.blobs.Path(x.SHA256))
		for _, e := range x.Tree {
			if e.Type == tree.File && e.Size == int64(size.MiB) {
				os.Remove(w.blobs.Path(e.SHA256))
			}
		}
	}
}
