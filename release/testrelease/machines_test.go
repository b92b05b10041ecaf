package testrelease

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/release/setup"
)

// cleanMachine returns options for what could be a machine of its own, but for the key of the first release and those files of its
// cache that patterns name.
func cleanMachine(t testing.TB, has ...string) setup.Options {
	t.Helper()
	made := Made(t)
	checkout, cache := t.TempDir(), filepath.Join(t.TempDir(), "other cache")
	for _, dir := range []string{"recipes", "platforms", "release/profiles"} {
		if err := os.CopyFS(filepath.Join(checkout, dir), os.DirFS(filepath.Join("../..", dir))); err != nil {
			t.Fatal(err)
		}
	}
	for _, pattern := range append(has, "development-key") {
		paths, err := filepath.Glob(filepath.Join(made.Options.Cache, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("the cache has no %s: %v", pattern, err)
		}
		for _, path := range paths {
			to := filepath.Join(cache, strings.TrimPrefix(path, made.Options.Cache))
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	layouts, err := os.ReadFile(filepath.Join("../..", setup.LayoutsFile))
	if err == nil {
		err = os.WriteFile(filepath.Join(checkout, setup.LayoutsFile), layouts, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	o := Options(t, cache, t.TempDir())
	o.Checkout = checkout
	return o
}

// throwAway removes what a machine has on its disk, of which the others get nothing, and which takes GBs of the disk of all.
func throwAway(t testing.TB, o setup.Options) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(o.Cache), os.RemoveAll(o.Output)); err != nil {
		t.Fatal(err)
	}
}
