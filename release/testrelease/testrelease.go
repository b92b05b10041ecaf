// Package testrelease makes releases for tests: the project's own, once for all packages of a test run, and small ones.
package testrelease

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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

// Release is the project's own release, made once.
type Release struct {
	*release.Run
	Options  setup.Options
	Planned  *plan.Planned
	Manifest *manifest.Manifest
}

// File returns the path of a file of the release.
func (r *Release) File(name string) string { return filepath.Join(r.Options.Dir(), name) }

var made struct {
	once    sync.Once
	err     error
	release *Release
}

// Made returns the project's own release. The first process makes it, the others take it from the cache. Its files must not be
// changed.
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
	ctx := context.Background() // must outlive the first test
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

// lock waits for the lock.
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

// Main runs the tests of a package that uses Made and cleans up after it.
func Main(m *testing.M) {
	code := m.Run()
	if made.release != nil && made.release.Run != nil {
		made.release.Bench.Close()
	}
	os.Exit(code)
}

// Needs skips a test if no release can be made here.
func Needs(t testing.TB) {
	t.Helper()
	needs.Root(t)
	needs.Programs(t, append(base.Programs(), "go")...)
}

// Options returns the options for a release of the test's checkout.
func Options(t testing.TB, cache, output string) setup.Options {
	t.Helper()
	o := optionsIn(cache, output, t.Output())
	o.Checkout = Checkout(t)
	return o
}

// Fresh returns Options with the cache of all tests and an output directory of the test.
func Fresh(t testing.TB) setup.Options {
	t.Helper()
	return Options(t, toolroottest.Cache(t), t.TempDir())
}

func optionsIn(cache, output string, log io.Writer) setup.Options {
	return setup.Options{
		Output: output, Cache: cache, Version: setup.DefaultVersion, Arch: arch.AMD64, Jobs: 2, Extras: true,
		// What is committed while a test runs makes no difference.
		Source:   &manifest.Source{Commit: strings.Repeat("0", 40)},
		Flatcar:  setup.Flatcar{Server: "https://CHANNEL.release.flatcar-linux.net"},
		Progress: progress.New(log), Log: slog.New(slog.DiscardHandler),
	}
}

// Checkout returns the directory with go.mod.
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
			t.Fatal("no go.mod above the test's directory")
		}
		dir = filepath.Dir(dir)
	}
}
