package testrelease

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/fit"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// cold returns the workshop with no result of an earlier run, so that everything is packed and measured again.
func cold(b *testing.B) *workshop {
	b.Helper()
	w := *made.workshop
	var err error
	if w.results, err = store.OpenResults(b.TempDir(), w.blobs, nil); err != nil {
		b.Fatal(err)
	}
	return &w
}

func fitOnce(b *testing.B, w *workshop) fitted {
	b.Helper()
	factory, err := w.factory(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	empty, err := made.workshop.format(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	plan, err := w.fit(b.Context(), factory, made.staged, empty)
	if err != nil {
		b.Fatal(err)
	}
	return plan
}

func total(images []image) (sum size.Bytes) {
	for _, i := range images {
		sum += i.Cost
	}
	return sum
}

// BenchmarkFit compares what the plan takes in /usr with other ways to pack the same trees, and how long making it takes
// with one pass of mksquashfs, nothing being kept from earlier runs.
//
//	go test -run '^$' -bench Fit -benchtime 1x -timeout 1h ./release
func BenchmarkFit(b *testing.B) {
	theRelease(b)
	needs.Programs(b, "xz")
	for b.Loop() {
		start := time.Now()
		plan := fitOnce(b, cold(b))
		took := time.Since(start)
		start = time.Now()
		strongest := pack.Rung{Filesystem: pack.SquashFS, Compressor: "xz", Block: size.MiB, Filter: "x86"}
		apart := everyPlatform(b, cold(b), strongest)
		pass := time.Since(start)
		start = time.Now()
		fitOnce(b, made.workshop)
		warm := time.Since(start)
		today := everyPlatform(b, made.workshop, pack.Rung{Filesystem: pack.EROFS})
		least := smallestPlan(b)
		solid := solidArchive(b)
		b.ReportMetric(float64(total(plan.images)), "plan-B")
		b.ReportMetric(float64(total(plan.images))/float64(today), "plan/erofs-on-btrfs")
		b.ReportMetric(float64(total(plan.images))/float64(apart), "plan/squashfs-xz-x86")
		b.ReportMetric(float64(least), "least-B")
		b.ReportMetric(float64(least)/float64(today), "least/erofs-on-btrfs")
		b.ReportMetric(float64(least)/float64(apart), "least/squashfs-xz-x86")
		b.ReportMetric(float64(least)/float64(solid), "least/solid-xz-9e")
		b.ReportMetric(float64(total(plan.images))/float64(solid), "plan/solid-xz-9e")
		b.ReportMetric(took.Seconds(), "fit-s")
		b.ReportMetric(took.Seconds()/pass.Seconds(), "fit/mksquashfs-pass")
		b.ReportMetric(warm.Seconds(), "warm-s")
	}
}

// everyPlatform packs each platform's whole tree at one rung, and returns what all of them take in /usr.
func everyPlatform(b *testing.B, w *workshop, rung pack.Rung) (sum size.Bytes) {
	b.Helper()
	factory, err := w.factory(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	packed := make([]pack.Image, len(made.staged))
	for i, s := range made.staged {
		if packed[i], err = factory.Packer.Image(b.Context(), s.Tree, rung); err != nil {
			b.Fatal(err)
		}
	}
	if rung.Filesystem == pack.SquashFS { // nothing that btrfs could compress
		for _, p := range packed {
			sum += p.Size
		}
		return sum
	}
	f := &fitting{workshop: made.workshop}
	if f.empty, err = w.emptyPartition(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, p := range packed {
		cost, err := f.cost(b.Context(), p)
		if err != nil {
			b.Fatal(err)
		}
		sum += cost
	}
	return sum
}

// smallestPlan returns what the same layers take when each is packed as small as it gets.
func smallestPlan(b *testing.B) (sum size.Bytes) {
	b.Helper()
	w := made.workshop
	factory, err := w.factory(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	empty, err := w.format(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	f, err := w.newFitting(b.Context(), factory, made.staged, empty)
	if err != nil {
		b.Fatal(err)
	}
	f.planner.Budgets = []fit.Budget{{Name: "none", Limit: -1}} // what does not fit is told with the smallest choices
	_, err = f.planner.Plan(b.Context(), f.items)
	var over *fit.OverBudgetError
	if !errors.As(err, &over) {
		b.Fatalf("error is %v", err)
	}
	for _, s := range over.Smallest {
		sum += s.Cost
	}
	return sum
}

// solidArchive returns the length of one archive of all that the platforms have, compressed as one piece.
func solidArchive(b *testing.B) size.Bytes {
	b.Helper()
	var union tree.Tree
	for _, s := range made.staged {
		for _, e := range s.Tree {
			if !slices.ContainsFunc(union, func(u tree.Entry) bool { return u.Path == e.Path && u.Equal(e) }) {
				union = append(union, e)
			}
		}
	}
	archive, input := io.Pipe()
	go func() {
		input.CloseWithError(tree.Sorted(union).WriteTar(input, made.workshop.Epoch, made.workshop.blobs.CopyTo))
	}()
	var out counter
	err := run.Run(context.Background(), run.Cmd{
		Program: "xz", Args: []string{"-9e", "--threads=1"}, Stdin: archive, Stdout: &out, Env: run.HostEnv("PATH"),
	})
	if err != nil {
		b.Fatal(err)
	}
	return size.Bytes(out)
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
