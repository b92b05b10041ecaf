package testrelease

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/publish/ci"
	"github.com/flatcar/oem-sysext/release/setup"
)

// TestSeveralMachinesGiveTheSameBytes makes a release of some platforms: a Go program, an image for an initramfs, many packages, and
// layers that they share. A night compares the whole catalogue.
func TestSeveralMachinesGiveTheSameBytes(t *testing.T) {
	one := Fresh(t)
	one.Platforms = []string{"hetzner", "qemu", "vmware"}
	if _, err := release.Assemble(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	severalMachinesGive(t, one)
}

// severalMachinesGive makes a release again as several machines do. Each has a checkout, a cache and an output
// directory of its own, another umask, time zone and language than the machine of the first release, and of the others only what
// they put into remote caches. All files must come out the same, also the signatures: those of RSA (PKCS #1 v1.5) have no chance
// in them, and the key is the same.
func severalMachinesGive(t *testing.T, one setup.Options) {
	t.Helper()
	t.Setenv("TZ", "Pacific/Auckland")
	t.Setenv("LANG", "tr_TR.UTF-8")
	t.Setenv("LC_ALL", "tr_TR.UTF-8")
	defer unix.Umask(unix.Umask(0o077))
	shared := t.TempDir()
	planned, parts := filepath.Join(shared, "plan"), filepath.Join(shared, "parts")

	machine := func(has ...string) setup.Options {
		o := cleanMachine(t, has...)
		o.Platforms = one.Platforms
		return o
	}
	first := machine("downloads", "tools-*", "base-*") // assembling those takes a minute, and is another test's
	first.RemoteCacheWrite = planned
	if err := ci.Prepare(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	throwAway(t, first)
	for n := range 2 {
		o := machine("downloads")
		o.RemoteCache, o.RemoteCacheWrite = []string{planned}, parts
		if err := ci.Shard(t.Context(), o, ci.Part{Number: n + 1, Of: 2}, io.Discard); err != nil {
			t.Fatal(err)
		}
		throwAway(t, o)
	}
	last := machine("downloads/latest")
	last.RemoteCache = []string{planned, parts}
	if _, err := release.Assemble(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	noPackages(t, filepath.Join(last.Cache, "downloads/sha256"))
	alone, several := listing(t, one.Dir()), listing(t, last.Dir())
	for _, name := range slices.Sorted(maps.Keys(alone)) {
		if alone[name] != several[name] {
			t.Errorf("%s is %q from one machine, and %q from several", name, alone[name], several[name])
		}
	}
	if len(several) != len(alone) {
		t.Errorf("several machines make %q", slices.Sorted(maps.Keys(several)))
	}
}

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

// noPackages checks that none of Debian's was downloaded: what needs one was made elsewhere.
func noPackages(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(content, []byte("!<arch>\n")) {
			t.Errorf("%s, a package of %d B, was downloaded by who had nothing to make of it", e.Name(), len(content))
		}
	}
}

// listing returns the digests of all files of a release.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		d, _, err := digest.OfFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = d.String()
	}
	return all
}
