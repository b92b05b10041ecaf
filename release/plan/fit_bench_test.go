package plan_test

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
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/oem/image/fit"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/image/rung"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

// cold returns a planner with no result of an earlier run, so that everything is packed and measured again.
func cold(b *testing.B, made *testrelease.Release) *plan.Planner {
	b.Helper()
	p, bench := made.Planner(), *made.Bench
	var err error
	if bench.Results, err = store.OpenResults(b.TempDir(), bench.Blobs, nil); err != nil {
		b.Fatal(err)
	}
	p.Bench = &bench
	return p
}

func fitOnce(b *testing.B, p *plan.Planner, made *testrelease.Release) *plan.Planned {
	b.Helper()
	planned, err := p.Fit(b.Context(), made.Planned)
	if err != nil {
		b.Fatal(err)
	}
	return planned
}

func total(images []plan.Image) (sum size.Bytes) {
	for _, i := range images {
		sum += i.Cost
	}
	return sum
}

// BenchmarkFit compares what the plan takes in /usr with other ways to pack the same trees, and how long making it takes
// with one pass of mksquashfs, nothing being kept from earlier runs.
//
//	go test -run '^$' -bench Fit -benchtime 1x -timeout 1h ./release/plan
func BenchmarkFit(b *testing.B) {
	made := testrelease.Made(b)
	needs.Programs(b, "xz")
	for b.Loop() {
		start := time.Now()
		found := fitOnce(b, cold(b, made), made)
		took := time.Since(start)
		start = time.Now()
		strongest := rung.Rung{Filesystem: rung.SquashFS, Compressor: "xz", Block: size.MiB, Filter: "x86"}
		apart := everyPlatform(b, cold(b, made), made, strongest)
		pass := time.Since(start)
		start = time.Now()
		fitOnce(b, made.Planner(), made)
		warm := time.Since(start)
		today := everyPlatform(b, made.Planner(), made, rung.Rung{Filesystem: rung.EROFS})
		least := smallestPlan(b, made)
		solid := solidArchive(b, made)
		b.ReportMetric(float64(total(found.Images)), "plan-B")
		b.ReportMetric(float64(total(found.Images))/float64(today), "plan/erofs-on-btrfs")
		b.ReportMetric(float64(total(found.Images))/float64(apart), "plan/squashfs-xz-x86")
		b.ReportMetric(float64(least), "least-B")
		b.ReportMetric(float64(least)/float64(today), "least/erofs-on-btrfs")
		b.ReportMetric(float64(least)/float64(apart), "least/squashfs-xz-x86")
		b.ReportMetric(float64(least)/float64(solid), "least/solid-xz-9e")
		b.ReportMetric(float64(total(found.Images))/float64(solid), "plan/solid-xz-9e")
		b.ReportMetric(took.Seconds(), "fit-s")
		b.ReportMetric(took.Seconds()/pass.Seconds(), "fit/mksquashfs-pass")
		b.ReportMetric(warm.Seconds(), "warm-s")
	}
}

// everyPlatform packs each platform's whole tree at one rung, and returns what all of them take in /usr.
func everyPlatform(b *testing.B, p *plan.Planner, made *testrelease.Release, at rung.Rung) (sum size.Bytes) {
	b.Helper()
	factory, err := p.Bench.Factory(made.Base.Target, made.Base.Epoch)
	if err != nil {
		b.Fatal(err)
	}
	packed := make([]pack.Image, len(made.Planned.Staged))
	for i, s := range made.Planned.Staged {
		if packed[i], err = factory.Packer.Image(b.Context(), s.Tree, at); err != nil {
			b.Fatal(err)
		}
	}
	if at.Filesystem == rung.SquashFS { // nothing that btrfs could compress
		for _, image := range packed {
			sum += image.Size
		}
		return sum
	}
	for _, image := range packed {
		cost, err := p.Cost(b.Context(), image)
		if err != nil {
			b.Fatal(err)
		}
		sum += cost
	}
	return sum
}

// smallestPlan returns what the same layers take when each is packed as small as it gets.
func smallestPlan(b *testing.B, made *testrelease.Release) (sum size.Bytes) {
	b.Helper()
	_, err := made.Planner().FitInto(b.Context(), made.Planned, budget.Budget{Name: "none", Limit: -1}) // what does not fit is told with the smallest choices
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
func solidArchive(b *testing.B, made *testrelease.Release) size.Bytes {
	b.Helper()
	var union tree.Tree
	for _, s := range made.Planned.Staged {
		for _, e := range s.Tree {
			if !slices.ContainsFunc(union, func(u tree.Entry) bool { return u.Path == e.Path && u.Equal(e) }) {
				union = append(union, e)
			}
		}
	}
	archive, input := io.Pipe()
	go func() {
		input.CloseWithError(tree.Sorted(union).WriteTar(input, made.Base.Epoch, made.Bench.Blobs.CopyTo))
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
