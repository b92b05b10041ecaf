package testrelease

import (
	"bufio"
	"bytes"
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

// BenchmarkSandbox tells what sandboxes cost: how long one takes to start, and how many times as long each kind of work takes in one as
// outside, done in turn.
//
//	go test -run '^$' -bench 'Sandbox$' -benchtime 1x ./release/testrelease
func BenchmarkSandbox(b *testing.B) {
	tools := toolroottest.Open(b)
	for b.Loop() {
		sandboxCost(b, tools)
	}
}

// BenchmarkSandboxes makes a release with nothing of earlier runs but downloads and roots, and adds up the time in all its sandboxes. The
// percentage is what that release would take less without: what it takes to start each, and what they slow down.
//
//	go test -run '^$' -bench 'Sandboxes$' -benchtime 1x -timeout 1h ./release/testrelease
func BenchmarkSandboxes(b *testing.B) {
	Made(b) // so that there are downloads and roots
	for b.Loop() {
		start, slower := sandboxCost(b, toolroottest.Open(b))
		calls, within, took := countedRelease(b)
		b.ReportMetric(float64(calls), "sandboxes")
		b.ReportMetric(within.Seconds(), "within-s")
		b.ReportMetric(took.Seconds(), "release-s")
		cost := float64(calls)*start.Seconds() + max(0, slower)*within.Seconds()
		b.ReportMetric(100*cost/took.Seconds(), "%")
	}
}

// sandboxCost returns what it takes to start a sandbox, and by what part work is slower in one, on average.
func sandboxCost(b *testing.B, tools *toolroot.Root) (start time.Duration, slower float64) {
	b.Helper()
	start = startCost(b, tools)
	b.ReportMetric(1000*start.Seconds(), "start-ms")
	for name, work := range sandboxed {
		ratio := workCost(b, tools, work)
		b.ReportMetric(ratio, name+"-ratio")
		slower += (ratio - 1) / float64(len(sandboxed))
	}
	return start, slower
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

// processorTime reads what a shell's command times says of the processes it has waited for: its second line, user and system.
func processorTime(b *testing.B, said string) time.Duration {
	b.Helper()
	words := strings.Fields(said)
	if len(words) != 4 {
		b.Fatalf("times says %q", said)
	}
	user, err := time.ParseDuration(words[2])
	fine(b, err)
	system, err := time.ParseDuration(words[3])
	fine(b, err)
	return user + system
}

// workCost is how many times as much time of processors work takes in a sandbox: the least of some rounds. Other than time on the clock, that
// does not depend on what else the machine does.
func workCost(b *testing.B, tools *toolroot.Root, work string) float64 {
	b.Helper()
	work = "(" + work + ") >&2; times"
	inside, outside := time.Hour, time.Hour
	for range 5 {
		var said bytes.Buffer
		out := b.TempDir()
		fine(b, tools.Run(b.Context(), toolroot.Cmd{Program: "sh", Args: []string{"-c", work, "sh", out}, Write: []string{out}, Owners: true, Stdout: &said}))
		inside = min(inside, processorTime(b, said.String()))
		fine(b, os.RemoveAll(out))

		said.Reset()
		out = b.TempDir()
		fine(b, run.Run(b.Context(), run.Cmd{
			Program: "unshare", Args: []string{"--mount", "sh", "-c", plain, "sh", tools.Path(""), out, work},
			Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "TZ=UTC"}, Stdout: &said,
		}))
		outside = min(outside, processorTime(b, said.String()))
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
