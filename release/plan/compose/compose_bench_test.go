package compose_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/plan/compose"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

// Ten foreign extensions, each with so many files of 1 MiB that do not compress, so that its image is as large as what is in it.
const (
	benchExtensions = 10
	benchFiles      = 50
)

// BenchmarkCompose reads, checks and embeds ten extensions of 50 MiB on top of the default release, against copying and hashing the
// ten images and the same embedding. Their ratio is reported as compose/copy+embed; peak-MiB is what this process had in memory at most
// meanwhile, and child-MiB what the largest program had that it ever ran.
//
//	go test -run '^$' -bench Compose -benchtime 3x -timeout 1h ./release/plan/compose
func BenchmarkCompose(b *testing.B) {
	made := testrelease.Made(b)
	o := testrelease.Options(b, made.Options.Cache, b.TempDir())
	o.Profile = benchProfile(b, made)
	w, err := release.Open(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Bench.Close()
	var composing, copying, embedding time.Duration
	for b.Loop() {
		bench := *w.Bench
		bench.Results, err = store.OpenResults(b.TempDir(), bench.Blobs, nil) // with nothing of these extensions in it
		if err != nil {
			b.Fatal(err)
		}
		factory, err := bench.Factory(w.Base.Target, w.Base.Epoch)
		if err != nil {
			b.Fatal(err)
		}
		composer, err := compose.New(&bench, w.Choice, w.Base, factory, nil)
		if err != nil {
			b.Fatal(err)
		}
		testrelease.ForgetPeak(b)
		started := time.Now()
		others, err := composer.Compose(b.Context(), made.Planned.Staged)
		if err != nil {
			b.Fatal(err)
		}
		composing += time.Since(started)

		copying += copyAndHash(b, w)

		content := made.Planned.Content
		content.Choices, content.Images = compose.Choices(others), slices.Clone(content.Images)
		for _, x := range others {
			content.Images = append(content.Images, embed.Image{Name: x.File, SHA256: x.Original.SHA256, Size: x.Original.Size})
		}
		started = time.Now()
		full, err := partition.Embed(b.Context(), &bench, w.Base, made.Planned.Empty, content)
		if err != nil {
			b.Fatal(err)
		}
		embedding += time.Since(started)
		b.StopTimer()
		removeBenchBlobs(w, others, full)
		b.StartTimer()
	}
	b.ReportMetric((composing+embedding).Seconds()/(copying+embedding).Seconds(), "compose/copy+embed")
	b.ReportMetric(composing.Seconds()/float64(b.N), "compose-s")
	b.ReportMetric(copying.Seconds()/float64(b.N), "copy-s")
	b.ReportMetric(embedding.Seconds()/float64(b.N), "embed-s")
	b.ReportMetric(testrelease.Peak(b), "peak-MiB")
	var children syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(children.Maxrss)/1024, "child-MiB")
}

// benchProfile makes the images, and a profile of them that is else the default one.
func benchProfile(b *testing.B, made *testrelease.Release) string {
	b.Helper()
	dir := b.TempDir()
	profile := strings.Replace(testrelease.ProfileHead, "images: 36 MiB", "images: 640 MiB", 1)
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
		err := made.Bench.Tools.Run(b.Context(), toolroot.Cmd{
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
func copyAndHash(b *testing.B, w *release.Run) time.Duration {
	b.Helper()
	scratch, err := os.MkdirTemp(w.Bench.Scratch, "copies.")
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
	group.SetLimit(w.Bench.Jobs)
	for _, x := range w.Choice.Profile.Extensions {
		group.Go(func() error {
			f, err := os.Open(w.Choice.Profile.Path(x.File.Value))
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
func removeBenchBlobs(w *release.Run, others []*compose.Extension, full partition.Partition) {
	os.Remove(w.Bench.Blobs.Path(full.SHA256))
	for _, x := range others {
		os.Remove(w.Bench.Blobs.Path(x.Original.SHA256))
		for _, e := range x.Tree {
			if e.Type == tree.File && e.Size == int64(size.MiB) {
				os.Remove(w.Bench.Blobs.Path(e.SHA256))
			}
		}
	}
}
