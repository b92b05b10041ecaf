// Package toolroottest opens the real tool root for tests, from the cache that the pipeline uses.
package toolroottest

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/flatcar/oem-sysext/oem/bootstrap"
	"github.com/flatcar/oem-sysext/oem/debian"
	"github.com/flatcar/oem-sysext/oem/fetch"
	"github.com/flatcar/oem-sysext/oem/needs"
	"github.com/flatcar/oem-sysext/oem/toolroot"
)

// Cache returns the checkout's cache directory, or the one that CACHE names.
func Cache(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	cache := filepath.Join(dir, ".cache")
	if named := os.Getenv("CACHE"); filepath.IsAbs(named) {
		cache = named
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	return cache
}

// Open returns the tool root. It needs root, the host's programs and, the first time, the archive.
func Open(t testing.TB) *toolroot.Root {
	t.Helper()
	needs.Root(t)
	needs.Programs(t, append(bootstrap.Programs(), "bwrap")...)
	sources, err := debian.HostSources("/etc/apt", os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	cache, log := Cache(t), slog.New(slog.DiscardHandler)
	archive := &debian.Archive{Sources: sources, Store: fetch.New(filepath.Join(cache, "downloads"), log, nil), Log: log}
	suite, err := archive.Release(t.Context(), toolroot.Suite, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	tools, err := toolroot.Open(t.Context(), toolroot.Options{CacheDir: cache, Release: suite, Epoch: suite.SuiteDate(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return tools
}
