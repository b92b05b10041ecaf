package testrelease

import (
	"context"
	stdflag "flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/flatcar/flatcartest"
	"github.com/flatcar/oem-sysext/release/format/sums"
	"github.com/flatcar/oem-sysext/release/publish/ci"
	"github.com/flatcar/oem-sysext/release/setup"
)

var kills = stdflag.Int("kills", 2, "how many runs TestReleaseIsKilled kills, each one later than the one before")

// TestReleaseIsKilled kills runs that make a release of a small base, each of another tool, so that they cannot take results of each other.
// The release directory must have a whole release at any time, and after one more run there is no device, mount or scratch
// of the killed ones.
func TestReleaseIsKilled(t *testing.T) {
	Needs(t)
	o := Fresh(t)
	o.Checkout, o.BaseID, o.Version = goldenCheckout(t), goldenBase(t, goldenUsr(t, flatcartest.Version)), flatcartest.Version
	o.Cache = cacheWithBase(t, o)
	// assemble makes the n-th release, or is killed, and tells how long that took.
	assemble := func(n int, limit time.Duration) (took time.Duration, killed bool) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(o.Checkout, "recipes/tool/files/usr/share/tool/data"), fmt.Append(nil, n), 0o644); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		child := childOf(o, "assemble", ci.Part{}).command(ctx, t.Output())
		start := time.Now()
		err := child.Run()
		killed = child.ProcessState != nil && child.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
		if err != nil && !killed {
			t.Fatal(err)
		}
		return time.Since(start), killed
	}
	whole, _ := assemble(0, time.Hour)
	last := checkedSums(t, o)
	for n := 1; n <= *kills; n++ {
		limit := whole * time.Duration(n) / time.Duration(*kills+2) // the first run also made what all need
		_, killed := assemble(n, limit)
		sums := checkedSums(t, o)
		if killed != (sums == last) {
			t.Errorf("after %v of %v: killed is %v, and there is another release: %v", limit, whole, killed, sums != last)
		}
		last = sums
	}
	if _, killed := assemble(*kills+1, time.Hour); killed || checkedSums(t, o) == last {
		t.Error("the run after all killed ones made no release of its own")
	}
	nothingLeft(t, o.Cache)
}

// cacheWithBase is a cache with the tools and bases of the one that all tests share, and nothing made of them.
func cacheWithBase(t *testing.T, o setup.Options) string {
	t.Helper()
	r, err := release.Open(t.Context(), o) // so that tools and base are there
	if err != nil {
		t.Fatal(err)
	}
	r.Bench.Close()
	shared, own := o.Cache, t.TempDir()
	for _, pattern := range []string{"tools-*", "base-*", "downloads"} {
		dirs, err := filepath.Glob(filepath.Join(shared, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			if err := os.Symlink(dir, filepath.Join(own, filepath.Base(dir))); err != nil {
				t.Fatal(err)
			}
		}
	}
	return own
}

// checkedSums lets sha256sum check the release and returns the digest of what it was told.
func checkedSums(t *testing.T, o setup.Options) digest.SHA256 {
	t.Helper()
	sums := filepath.Join(o.Dir(), sums.FileName)
	err := run.Run(t.Context(), run.Cmd{
		Program: "sha256sum", Args: []string{"--quiet", "--strict", "--check", sums}, Dir: o.Dir(), Env: run.HostEnv("PATH"),
	})
	if err != nil {
		t.Error(err)
	}
	d, _, err := digest.OfFile(sums)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// nothingLeft checks that no device is attached to a file below a directory, that nothing is mounted there, and that no
// run has scratch there.
func nothingLeft(t *testing.T, cache string) {
	t.Helper()
	devices, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(devices, "/proc/self/mountinfo") {
		content, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(content), cache) { // a device may be gone by now
			t.Errorf("%s has %s", path, content)
		}
	}
	if left, err := filepath.Glob(filepath.Join(cache, "scratch/*")); err != nil || len(left) > 0 {
		t.Errorf("scratch is left: %v, %v", left, err)
	}
}
