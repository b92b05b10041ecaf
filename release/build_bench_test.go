package release

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/arch"
	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/size"
	"github.com/flatcar/oem-sysext/oem/store"
)

// BenchmarkBuild builds the images of all platforms for both architectures, as scripts/mage build does, with nothing of earlier runs
// but downloads: not the tool root, no base, no compiled package of Go. It reports how long that takes, and the most memory that
// all processes had at a time (pages that several share count for each).
//
//	go test -run '^$' -bench 'Build$' -benchtime 1x -timeout 1h ./release
func BenchmarkBuild(b *testing.B) {
	theRelease(b) // so that there are downloads
	for b.Loop() {
		for _, a := range []arch.Arch{arch.AMD64, arch.ARM64} { // the first time for downloads
			o := options(b, made.workshop.Cache, b.TempDir())
			o.Arch = a
			if _, err := Build(b.Context(), o); err != nil {
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
			_, took := does(b, o, "build", Part{})
			stop()
			all += took
			b.ReportMetric(took.Seconds(), string(a)+"-s")
		}
		b.ReportMetric(all.Seconds(), "both-s")
		b.ReportMetric(float64(most.Load())/float64(size.MiB), "MiB")
	}
}

// BenchmarkCheck checks all platforms: their trees against the base, and that their recipes are not in each other's way. Nothing
// is known from earlier checks.
//
//	go test -run '^$' -bench 'Check$' -benchtime 5x -timeout 1h ./release
func BenchmarkCheck(b *testing.B) {
	theRelease(b)
	w := made.workshop
	for b.Loop() {
		results, err := store.OpenResults(b.TempDir(), w.blobs, nil)
		if err != nil {
			b.Fatal(err)
		}
		checker, err := check.New(w.target, w.blobs, results, w.scratch.Dir)
		if err != nil {
			b.Fatal(err)
		}
		group, ctx := errgroup.WithContext(b.Context())
		group.SetLimit(w.Jobs)
		for _, s := range made.staged {
			group.Go(func() error {
				problems, err := checker.Tree(ctx, s.Tree)
				var recipes []check.Named
				for _, r := range s.Recipes {
					recipes = append(recipes, check.Named{Name: r.Recipe.File, Tree: r.Tree})
				}
				if problems = append(problems, check.Together(recipes)...); err == nil && len(problems) > 0 {
					err = fmt.Errorf("%s: %v", s.Platform.ID, problems)
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

// watchMemory notes the most memory that this process's children and theirs have at a time.
func watchMemory(ctx context.Context, most *atomic.Int64) {
	for ctx.Err() == nil {
		most.Store(max(most.Load(), memoryBelow(os.Getpid())))
		time.Sleep(100 * time.Millisecond)
	}
}

func memoryBelow(pid int) (sum int64) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		children, _ := os.ReadFile(list) // none where it is gone
		for child := range strings.FieldsSeq(string(children)) {
			statm, _ := os.ReadFile("/proc/" + child + "/statm")
			fields := append(strings.Fields(string(statm)), "0", "0")
			pages, _ := strconv.ParseInt(fields[1], 10, 64) // resident (proc_pid_statm(5))
			id, _ := strconv.Atoi(child)
			sum += pages*int64(os.Getpagesize()) + memoryBelow(id)
		}
	}
	return sum
}
