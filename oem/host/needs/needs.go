// Package needs says what a test needs from the machine it runs on.
//
// On a laptop a test without its needs is skipped. Where CI is set it fails instead,
// so that nothing goes unproven there unnoticed.
package needs

import (
	"os"
	"os/exec"
	"testing"
)

// Root is for tests that mount, or run programs from the tool root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "root")
	}
}

// Programs is for tests that run programs of the host.
func Programs(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			missing(t, name)
		}
	}
}

// missing is the one place where a test may be skipped.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("this test needs %s, and CI is set", what)
	}
	t.Skipf("this test needs %s", what)
}
