package testrelease

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/publish/ci"
)

// sandboxed are kinds of work that a release does in sandboxes, as shell: packing, unpacking, many files, many processes. They write
// to "$1".
var sandboxed = map[string]string{
	"pack":      `mksquashfs /usr/bin "$1/image" -quiet -no-progress -comp zstd -Xcompression-level 9`,
	"unpack":    `mksquashfs /usr/share "$1/image" -quiet -no-progress -comp gzip -Xcompression-level 1; unsquashfs -quiet -no-progress -dest "$1/tree" "$1/image"`,
	"files":     `tar -C /usr -cf - share lib | tar -C "$1" -xf -`,
	"processes": `i=0; while [ $i -lt 1000 ]; do /usr/bin/true; i=$((i+1)); done`,
}

// plain runs a program in a root without a sandbox: not a filter, not a limit, and no namespace but one for mounts, by which the
// program has the same files.
const plain = `mount --bind "$2" "$1/mnt" && mount --rbind /proc "$1/proc" && mount --rbind /dev "$1/dev" && exec chroot "$1" sh -c "$3" sh /mnt`

// BenchmarkSandbox tells what sandboxes cost. Each kind of work is done inside and outside of one in turn. Then a release is made with
// nothing of earlier runs but downloads and roots, and the time in all its sandboxes is added up. The percentage is what that release would
// take less without sandboxes: what it takes to make each, and what they slow down.
//
//	go test -run '^$' -bench 'Sandbox$' -benchtime 1x -timeout 1h ./release/testrelease
func BenchmarkSandbox(b *testing.B) {
	Made(b) // so that there are downloads and roots
	tools := toolroottest.Open(b)
	for b.Loop() {
		start := startCost(b, tools)
		b.ReportMetric(1000*start.Seconds(), "start-ms")
		slower := 0.0
		for name, work := range sandboxed {
			ratio := workCost(b, tools, work)
			b.ReportMetric(ratio, name+"-ratio")
			slower += (ratio - 1) / float64(len(sandboxed))
		}
		calls, within, took := countedRelease(b)
		b.ReportMetric(float64(calls), "sandboxes")
		b.ReportMetric(within.Seconds(), "within-s")
		b.ReportMetric(took.Seconds(), "release-s")
		cost := float64(calls)*start.Seconds() + max(0, slower)*within.Seconds()
		b.ReportMetric(100*cost/took.Seconds(), "%")
	}
}

// startCost is what one sandbox takes with nothing to do in it, beyond the same program without.
func startCost(b *testing.B, tools *toolroot.Root) time.Duration {
	b.Helper()
	const rounds = 50
	var inside, outside time.Duration
	for range rounds {
		began := time.Now()
		fine(b, tools.Run(b.Context(), toolroot.Cmd{Program: "true"}))
		inside += time.Since(began)
		began = time.Now()
		fine(b, run.Run(b.Context(), run.Cmd{Program: "true"}))
		outside += time.Since(began)
	}
	return (inside - outside) / rounds
}

// workCost is how many times as long work takes in a sandbox: the shortest of some rounds, since others are disturbed.
func workCost(b *testing.B, tools *toolroot.Root, work string) float64 {
	b.Helper()
	inside, outside := time.Hour, time.Hour
	for range 5 {
		out := b.TempDir()
		began := time.Now()
		fine(b, tools.Run(b.Context(), toolroot.Cmd{Program: "sh", Args: []string{"-c", work, "sh", out}, Write: []string{out}, Owners: true}))
		inside = min(inside, time.Since(began))
		fine(b, os.RemoveAll(out))

		out = b.TempDir()
		began = time.Now()
		fine(b, run.Run(b.Context(), run.Cmd{
			Program: "unshare", Args: []string{"--mount", "sh", "-c", plain, "sh", tools.Path(""), out, work},
			Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "TZ=UTC"},
		}))
		outside = min(outside, time.Since(began))
		fine(b, os.RemoveAll(out))
	}
	return inside.Seconds() / outside.Seconds()
}

// countedRelease makes a release and returns how many sandboxes that took, how long all of them together were there, and how long it took.
func countedRelease(b *testing.B) (calls int, within, took time.Duration) {
	b.Helper()
	bwrap, err := exec.LookPath("bwrap")
	fine(b, err)
	dir := b.TempDir()
	log := filepath.Join(dir, "log")
	// The standard output is the program's. /proc/uptime has hundredths of seconds, which add up to what is right.
	counter := fmt.Sprintf("#!/bin/sh\nread from rest </proc/uptime\n%s \"$@\"\nstatus=$?\nread to rest </proc/uptime\necho \"$from $to\" >>%s\nexit $status\n", bwrap, log)
	fine(b, os.WriteFile(filepath.Join(dir, "bwrap"), []byte(counter), 0o755))
	b.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	o := cleanMachine(b, "downloads", "tools-*", "base-*")
	_, took = does(b, o, "assemble", ci.Part{})
	file, err := os.Open(log)
	fine(b, err)
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); calls++ {
		var from, to float64
		_, err := fmt.Sscan(strings.TrimSpace(lines.Text()), &from, &to)
		fine(b, err)
		within += time.Duration((to - from) * float64(time.Second))
	}
	return calls, within, took
}

func fine(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
