//go:build nightly

package testrelease

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/flatcar"
	"github.com/flatcar/oem-sysext/release/bases/flatcar/flatcartest"
	"github.com/flatcar/oem-sysext/release/publish/ci"
	"github.com/flatcar/oem-sysext/release/setup"
)

// TestNightlySeveralMachines makes the release again as several machines do. Each has a checkout, a cache and an output
// directory of its own, another umask, time zone and language than the machine of the first release, and of the others only what
// they put into remote caches. All files must come out the same, also the signatures: those of RSA (PKCS #1 v1.5) have no chance
// in them, and the key is the same.
func TestNightlySeveralMachines(t *testing.T) {
	one := Made(t).Options
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

// TestNightlyFlatcarDisk takes a disk image with the reference base's programs, by which the release's units are checked.
func TestNightlyFlatcarDisk(t *testing.T) {
	flatcarDiskBecomesARelease(t, usrLikeFlatcar(t), SmallCheckout(t))
}

// TestNightlyCatalogueForARM64 is TestCatalogueOnFlatcarsLayout for the other architecture, as far as it can be seen without running anything:
// all libraries and symbols are found, and all else that is checked is right.
func TestNightlyCatalogueForARM64(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, append(base.Programs(), "go", "bwrap", "unshare")...)
	o := Fresh(t)
	o.Arch, o.Locked = arch.ARM64, true
	w, err := release.OpenForImages(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Bench.Close()
	usr := flatcartest.FromDebian(t, w.Base.Usr, w.Base.Arch)
	scanned, err := tree.Scan(usr, digest.OfReader)
	if err != nil {
		t.Fatal(err)
	}
	w.Base.Target = &target.Base{Name: flatcar.ID, ID: "flatcar", VersionID: w.Base.VersionID, Arch: w.Base.Arch, Usr: scanned.Below("/usr"), Dir: usr}
	factory, err := w.Factory()
	if err != nil {
		t.Fatal(err)
	}
	staged, err := factory.Stage(t.Context(), w.Choice.Chosen)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/usr/bin/waagent", "/usr/bin/python3", "/usr/lib/oem-chrony/lib/libseccomp.so.2"} {
		if !slices.ContainsFunc(staged, func(s oem.Staged) bool { return s.Tree.At(want) != nil }) {
			t.Errorf("no platform has %s", want)
		}
	}
	for _, s := range staged {
		if below := s.Tree.Under("/usr/lib/aarch64-linux-gnu"); len(below) > 0 {
			t.Errorf("%s has %v in Debian's directory", s.Platform.ID, below.Listing())
		}
	}
}

// Each kind of fault comes twice.
func TestNightlyFaults(t *testing.T) { disturb(t, 18) }

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
