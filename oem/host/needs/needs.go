// Package needs declares what a test needs from the machine it runs on.
//
// Without it the test is skipped, or fails if CI is set, so that CI never skips a test unnoticed.
package needs

import (
	"os"
	"os/exec"
	"testing"
)

// Root is needed by tests that mount or run programs from the tool root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "root")
	}
}

// Programs is needed by tests that run programs of the host.
func Programs(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			missing(t, name)
		}
	}
}

// missing is the only place where a test may be skipped.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("this test needs %s, and CI is set", what)
	}
	t.Skipf("this test needs %s", what)
}
