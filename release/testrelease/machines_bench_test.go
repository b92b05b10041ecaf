package testrelease

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/release/publish/ci"
	"github.com/flatcar/oem-sysext/release/setup"
)

// BenchmarkMachines makes the release on one machine, and then as a machine that prepares, some that make a part each, and one
// that combines. A machine has its own checkout, cache and Go build cache, and of the others only what is in remote caches. The
// first and the last of several have the same to do for any number of parts, and do it once.
// Reported is the processor time of all of them together, and how much more that is than the one machine's. Left out is what is
// done before our own program starts: installing what it needs, and compiling it.
//
// Then comes the night after, in which nothing has changed but the version. Reported is how long that takes: on the machine that
// made the last release; and on machines that have nothing but the remote caches of the night before, preparing, the longest of
// four parts, and combining.
//
//	go test -run '^$' -bench Machines -benchtime 1x -timeout 3h ./release
func BenchmarkMachines(b *testing.B) {
	Made(b) // so that there are downloads
	for b.Loop() {
		alone := cleanMachine(b, "downloads")
		one, _ := does(b, alone, "assemble", ci.Part{})
		b.ReportMetric(one.Seconds(), "cpu-s-one-machine")
		alone.Version = nextNight
		_, took := does(b, alone, "assemble", ci.Part{})
		b.ReportMetric(took.Seconds(), "s-next-night-same-machine")

		n := &night{shared: b.TempDir(), version: setup.DefaultVersion}
		first := n.step(b, "prepare", ci.Part{}, "plan", "last night")
		work := map[int]time.Duration{}
		for _, parts := range []int{1, 2, 4, 8} {
			into := fmt.Sprintf("parts of %d", parts)
			for part := range parts {
				work[parts] += n.step(b, "shard", ci.Part{Number: part + 1, Of: parts}, into, "plan").work
			}
		}
		last := n.step(b, "assemble", ci.Part{}, "last night", "plan", "parts of 8")
		for parts, shards := range work {
			all := first.work + shards + last.work
			b.ReportMetric(all.Seconds(), fmt.Sprintf("cpu-s-of-%d", parts))
			b.ReportMetric(100*(all.Seconds()/one.Seconds()-1), fmt.Sprintf("%%-more-of-%d", parts))
		}

		n.version = nextNight
		took = n.step(b, "prepare", ci.Part{}, "next plan", "plan", "last night").took
		var longest time.Duration
		for part := range 4 {
			longest = max(longest, n.step(b, "shard", ci.Part{Number: part + 1, Of: 4}, "next parts", "next plan", "plan", "parts of 4", "last night").took)
		}
		took += longest + n.step(b, "assemble", ci.Part{}, "next night", "next plan", "plan", "next parts", "parts of 4", "last night").took
		b.ReportMetric(took.Seconds(), "s-next-night-clean-machines")
	}
}

// nextNight has the same version as far as images go.
const nextNight = setup.DefaultVersion + "+nightly-20260102-0304"

// night is a release that several machines make.
type night struct{ shared, version string }

type spent struct{ work, took time.Duration }

// step does what one machine does, which is new. Remote caches are named: one to write to, and those to read.
func (n *night) step(b *testing.B, what string, part ci.Part, write string, read ...string) spent {
	b.Helper()
	o := cleanMachine(b, "downloads")
	o.Version, o.RemoteCacheWrite = n.version, filepath.Join(n.shared, write)
	for _, name := range read {
		o.RemoteCache = append(o.RemoteCache, filepath.Join(n.shared, name))
	}
	work, took := does(b, o, what, part)
	return spent{work, took}
}

// does runs a child process as a machine, and returns the processor time of it and all its children, and how long it took.
func does(b *testing.B, o setup.Options, what string, part ci.Part) (work, took time.Duration) {
	b.Helper()
	child := childOf(o, what, part).command(b.Context(), b.Output())
	child.Env = append(child.Env, "GOCACHE="+filepath.Join(o.Cache, "go-build"))
	start := time.Now()
	if err := child.Run(); err != nil {
		b.Fatalf("%s: %v", what, err)
	}
	took = time.Since(start)
	work = child.ProcessState.UserTime() + child.ProcessState.SystemTime()
	b.Logf("%s %v: %.1f s of processors, %.1f s", what, part, work.Seconds(), took.Seconds())
	return work, took
}
