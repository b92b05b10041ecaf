package scripts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

// TestTargets runs targets as people do, in checkouts of their own: what is printed, and the exit status.
func TestTargets(t *testing.T) {
	testrelease.Needs(t)
	checkout := testrelease.Checkout(t)
	mage := compiled(t, checkout)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(mage)+":"+os.Getenv("PATH"))
			for _, name := range []string{"HOME", "GOPROXY", "GOFLAGS", "GOCACHE", "GOMODCACHE"} {
				if value, set := os.LookupEnv(name); set {
					e.Setenv(name, value)
				}
			}
			e.Setenv("CACHE", toolroottest.Cache(t))
			e.Setenv("CHECKOUT", checkout)
			return smallCheckout(t, e.WorkDir)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"ends-with": endsWith},
	})
}

// endsWith runs a target that must end with a status: ends-with STATUS TARGET ARGUMENT...
func endsWith(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("mage", args[1:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("mage %s ended with %d; wanted %d", strings.Join(args[1:], " "), got, want)
	}
}

// compiled returns the targets as scripts/mage keeps them.
func compiled(t *testing.T, checkout string) string {
	t.Helper()
	c := exec.Command(filepath.Join(checkout, "scripts/mage"), "-l")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found, err := filepath.Glob(filepath.Join(checkout, ".cache/mage/*/mage"))
	if err != nil || len(found) == 0 {
		t.Fatalf("scripts/mage kept nothing: %v", err)
	}
	newest := found[0]
	for _, path := range found {
		a, errA := os.Stat(path)
		b, errB := os.Stat(newest)
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if a.ModTime().After(b.ModTime()) {
			newest = path
		}
	}
	return newest
}

// smallCheckout puts a checkout into a directory, whatever the script itself has there.
func smallCheckout(t *testing.T, dir string) error {
	if err := os.CopyFS(filepath.Join(dir, "checkout"), os.DirFS(testrelease.SmallCheckout(t))); err != nil {
		return fmt.Errorf("checkout for the script: %w", err)
	}
	return nil
}
