// Package toolroottest opens the real tool root for tests, from the pipeline's cache.
package toolroottest

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/tools/bootstrap"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
)

// Cache returns $CACHE, or the checkout's cache directory.
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

// Open returns the tool root. It needs root, the host's programs and, if not cached, the archive.
func Open(t testing.TB) *toolroot.Root {
	t.Helper()
	tools, err := With(t, toolroot.Suite)(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return tools
}

// judges are packages with programs that verify our output in tests.
var judges = []string{
	"binutils",             // readelf
	"bzip2",                //
	"cpio",                 //
	"cryptsetup-bin",       // veritysetup
	"dosfstools",           // mkfs.fat, fsck.fat
	"erofs-utils",          // mkfs.erofs, fsck.erofs, for systemd-repart
	"fdisk",                // sfdisk
	"gdisk",                // sgdisk
	"initramfs-tools-core", // lsinitramfs
	"libarchive-tools",     // bsdtar
	"gpg",                  // for systemd-sysupdate
	"gpgv",                 //
	"minisign",             //
	"mtools",               // mcopy, mdir
	"nginx-light",          // a remote cache, with WebDAV
	"openssl",              //
	"python3",              // applies payloads
	"python3-apt",          // reads indexes and versions as apt does
	"sbsigntool",           // sbsign, sbverify
	"systemd-container",    // systemd-dissect
	"squashfs-tools",       //
	"squashfs-tools-ng",    // rdsquashfs
	"systemd-repart",       //
	"unzip",                //
	"xz-utils",             //
	"zip",                  //
	"zstd",                 //
}

// Judges returns a root with the programs that verify our output. Requirements as for Open.
func Judges(t testing.TB) *toolroot.Root {
	t.Helper()
	tools, err := With(t, toolroot.Suite)(t.Context(), "", judges)
	if err != nil {
		t.Fatal(err)
	}
	return tools
}

// With returns a function that makes roots of packages; suite is the default suite. Requirements as for Open.
func With(t testing.TB, suite string) func(ctx context.Context, suite string, packages []string) (*toolroot.Root, error) {
	t.Helper()
	needs.Root(t)
	needs.Programs(t, append(bootstrap.Programs(), "bwrap")...)
	archive := Archive(t)
	return func(ctx context.Context, named string, packages []string) (*toolroot.Root, error) {
		release, err := archive.Release(ctx, cmp.Or(named, suite), runtime.GOARCH)
		if err != nil {
			return nil, err
		}
		return toolroot.Open(ctx, toolroot.Options{
			CacheDir: Cache(t), Release: release, Packages: packages, Epoch: release.SuiteDate(), Log: archive.Log,
		})
	}
}

// Archive returns the archive from the host's apt configuration.
func Archive(t testing.TB) *repository.Archive {
	t.Helper()
	sources, err := repository.HostSources("/etc/apt", os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	downloads, log := filepath.Join(Cache(t), "downloads"), slog.New(slog.DiscardHandler)
	return &repository.Archive{Sources: sources, Store: fetch.New(downloads, log, nil), Log: log, CacheDir: downloads}
}
