package sandbox

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// script runs a script with the directory it lies in at /recipe, and returns where its output is.
func script(t *testing.T, text string, change ...func(*Job)) (string, error) {
	t.Helper()
	dir, outDir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "build.sh"), []byte("#!/bin/sh\nset -eu\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(outDir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	j := &Job{
		Tools: toolroottest.Open(t), Script: "/recipe/build.sh", Inputs: map[string]string{"/recipe": dir},
		Env: map[string]string{"SOURCE_DATE_EPOCH": "7"}, Timeout: 20 * time.Second, Size: 8 * size.MiB, Memory: 256 * size.MiB,
	}
	for _, change := range change {
		change(j)
	}
	return outDir, j.Run(t.Context(), root)
}

func TestScript(t *testing.T) {
	t.Setenv("SECRET", "of the host")
	dir, err := script(t, `
echo not part of the output
mkdir -p "$OUT/usr/bin" && cp /recipe/build.sh "$OUT/usr/bin/tool" && ln -s tool "$OUT/usr/bin/link"
env | grep -v PWD= | sort > "$OUT/env"
{ id -u; id -g; grep -e CapInh -e CapPrm -e CapEff -e CapAmb /proc/self/status; ls -A "$HOME" /tmp; date -u +%Z; uname -n; } > "$OUT/who"
`)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"env": "HOME=/home/build\nLANG=C.UTF-8\nOUT=/out\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nSOURCE_DATE_EPOCH=7\nTMPDIR=/tmp\nTZ=UTC\n",
		"who": "61000\n61000\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapAmb:\t0000000000000000\n/home/build:\n\n/tmp:\nUTC\nbuild\n",
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	made, err := tree.Scan(filepath.Join(dir, "usr"), digest.OfReader)
	if err != nil || len(made) != 3 || made.At("/bin/tool").Mode != 0o700 {
		t.Errorf("made %v, %v", made.Listing(), err)
	}
}

// What a script must not reach, it does not reach: each of these commands fails.
func TestNothingElseIsThere(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	_, port, err := net.SplitHostPort(server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "other-recipe")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for what, command := range map[string]string{
		"the host's own services":    "bash -c '</dev/tcp/127.0.0.1/" + port + "'",
		"another machine":            "bash -c '</dev/tcp/192.0.2.1/80'",
		"another interface":          "grep -v -e lo: -e face -e Inter /proc/net/dev",
		"the host's files":           "cat " + secret,
		"another recipe's output":    "ls " + filepath.Dir(secret),
		"the host's root":            "ls /proc/1/root/root",
		"the host's processes":       "test -d /proc/" + strconv.Itoa(os.Getpid()),
		"writing to inputs":          "touch /recipe/x",
		"writing to the tools":       "touch /usr/bin/x",
		"writing to the root":        "touch /x",
		"writing to /dev":            "touch /dev/shm/x",
		"writing to the kernel":      "test -w /proc/sys/kernel/core_pattern",
		"its own kernel settings":    "echo x > /proc/sys/kernel/hostname",
		"becoming root":              "setpriv --reuid 0 true",
		"mounting":                   "mount -t tmpfs none /tmp",
		"a device":                   `mknod "$OUT/disk" b 8 0`,
		"more than its size":         `dd if=/dev/zero of="$OUT/large" bs=1M count=9 status=none`,
		"more than its size in /tmp": "dd if=/dev/zero of=/tmp/large bs=1M count=9 status=none",
	} {
		t.Run(what, func(t *testing.T) {
			_, err := script(t, "if "+command+"; then exit 42; fi\n")
			if err != nil {
				t.Errorf("%s was reached: %v", command, err)
			}
		})
	}
}

func TestFailureShowsWhatWasPrinted(t *testing.T) {
	_, err := script(t, "echo undefined reference to frobnicate\nexit 3\n")
	var failed *run.Error
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), "undefined reference to frobnicate") {
		t.Errorf("error is %v", err)
	}
}

func TestTimeout(t *testing.T) {
	start := time.Now()
	_, err := script(t, "sleep 60 & sleep 60\n", func(j *Job) { j.Timeout = time.Second })
	if err == nil || !strings.Contains(err.Error(), "took longer than 1s") || time.Since(start) > 15*time.Second {
		t.Errorf("after %v: error is %v", time.Since(start), err)
	}
}

// What comes out is read like any archive.
func TestHostileOutput(t *testing.T) {
	if _, err := script(t, `mkfifo "$OUT/pipe"`); err == nil || !strings.Contains(err.Error(), "fifo") {
		t.Errorf("a fifo: error is %v", err)
	}
}
