// Package testrelease makes releases for tests: the project's own, once for all packages of a test run, and small ones.
package testrelease

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Release is the project's own release.
type Release struct {
	*release.Run
	Options  setup.Options
	Planned  *plan.Planned
	Manifest *manifest.Manifest
}

// File is the path of a file of the release.
func (r *Release) File(name string) string { return filepath.Join(r.Options.Dir(), name) }

var made struct {
	once    sync.Once
	err     error
	release *Release
}

// Made returns the project's own release. The first of all processes that ask for it makes it; the others find it in the cache.
// Nobody may change its files.
func Made(t testing.TB) *Release {
	t.Helper()
	Needs(t)
	made.once.Do(func() { made.release, made.err = makeRelease(t) })
	if made.err != nil {
		t.Fatal(made.err)
	}
	return made.release
}

func makeRelease(t testing.TB) (*Release, error) {
	cache := toolroottest.Cache(t)
	unlock, err := lock(filepath.Join(cache, "test-release.lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	ctx := context.Background() // not the first test's
	r := &Release{Options: Options(t, cache, filepath.Join(cache, "test-release"))}
	r.Options.Progress = progress.New(os.Stderr)
	if r.Manifest, err = release.Assemble(ctx, r.Options); err != nil {
		return nil, err
	}
	if r.Run, err = release.Open(ctx, r.Options); err != nil {
		return nil, err
	}
	r.Planned, err = r.Planner().Plan(ctx)
	return r, err
}

// lock waits until no other process has the lock.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { f.Close() }, nil
}

// Main runs the tests of a package that uses Made, and closes what that opened.
func Main(m *testing.M) {
	code := m.Run()
	if made.release != nil && made.release.Run != nil {
		made.release.Bench.Close()
	}
	os.Exit(code)
}

// Needs skips a test where no release can be made.
func Needs(t testing.TB) {
	t.Helper()
	needs.Root(t)
	needs.Programs(t, append(base.Programs(), "go")...)
}

// Options are those of a release of the checkout that the test is in.
func Options(t testing.TB, cache, output string) setup.Options {
	t.Helper()
	o := optionsIn(cache, output, t.Output())
	o.Checkout = Checkout(t)
	return o
}

// Fresh is Options with the cache that all tests share and an output directory of the test's own.
func Fresh(t testing.TB) setup.Options {
	t.Helper()
	return Options(t, toolroottest.Cache(t), t.TempDir())
}

func optionsIn(cache, output string, log io.Writer) setup.Options {
	return setup.Options{
		Output: output, Cache: cache, Version: setup.DefaultVersion, Arch: arch.AMD64, Jobs: 2,
		Flatcar:  setup.Flatcar{Server: "https://CHANNEL.release.flatcar-linux.net"},
		Progress: progress.New(log), Log: slog.New(slog.DiscardHandler),
	}
}

// Checkout is the directory with go.mod.
func Checkout(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("the test is in no checkout")
		}
		dir = filepath.Dir(dir)
	}
}
