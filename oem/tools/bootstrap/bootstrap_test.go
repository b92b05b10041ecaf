package bootstrap_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/tools/bootstrap"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
)

// spec is a small root with what is made differently each time: users, keys, caches, copies of the host's files.
func spec(t *testing.T) bootstrap.Spec {
	needs.Root(t)
	needs.Programs(t, bootstrap.Programs()...)
	sources, err := repository.HostSources("/etc/apt", os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	archive := &repository.Archive{Sources: sources, Store: fetch.New(t.TempDir(), logger(t), nil), Log: logger(t), CacheDir: filepath.Join(t.TempDir(), "a cache [of] %20 #1")}
	release, err := archive.Release(t.Context(), "trixie", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	return bootstrap.Spec{
		Suite: "trixie", Arch: "amd64", Sources: release.SourceLines(), Keyring: release.Keyring(), Epoch: release.SuiteDate(),
		Packages: []string{"openssh-server", "systemd-resolved"},
		Exclude:  []string{"/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*"},
	}
}

func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func TestSameTreeWhereverItIsMade(t *testing.T) {
	s := spec(t)
	one := filepath.Join(t.TempDir(), "one")
	if err := bootstrap.Make(t.Context(), s, one, logger(t)); err != nil {
		t.Fatal(err)
	}

	defer syscall.Umask(syscall.Umask(0o077))
	t.Setenv("LANG", "de_DE.UTF-8")
	t.Setenv("LC_ALL", "POSIX")
	t.Setenv("TZ", "Asia/Tokyo")
	t.Setenv("TMPDIR", t.TempDir())
	other := filepath.Join(t.TempDir(), "other directory")
	if err := bootstrap.Make(t.Context(), s, other, logger(t)); err != nil {
		t.Fatal(err)
	}
	listing := manifest(t, one)
	if diff := cmp.Diff(listing, manifest(t, other)); diff != "" {
		t.Errorf("the trees differ:\n%s", diff)
	}

	for _, path := range []string{"/etc/hostname", "/etc/ssh/ssh_host_ed25519_key", "/var/log/dpkg.log"} {
		if _, found := listing[path]; found {
			t.Errorf("%s is left", path)
		}
	}
	if err := os.WriteFile(filepath.Join(other, "etc/hostname"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if cmp.Equal(listing, manifest(t, other)) {
		t.Error("the comparison does not see a file more")
	}
}

func TestInterruptedRunLeavesNothing(t *testing.T) {
	s := spec(t)
	dir := filepath.Join(t.TempDir(), "root")
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second) // packages are being unpacked or set up by then
	defer cancel()
	if err := bootstrap.Make(ctx, s, dir, logger(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error is %v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left (%v)", dir, err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("a mount is left:\n%s", mounts)
	}
}

func TestMakeRefusesWhatIsThere(t *testing.T) {
	needs.Root(t)
	dir := t.TempDir()
	err := bootstrap.Make(t.Context(), bootstrap.Spec{}, dir, logger(t))
	if err == nil || !strings.Contains(err.Error(), "remove it first") {
		t.Errorf("error is %v", err)
	}
}

// manifest describes each file: mode, owner, time, and content or target.
func manifest(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := contentOf(path, info)
		owner := info.Sys().(*syscall.Stat_t)
		files[strings.TrimPrefix(path, dir)] = fmt.Sprint(info.Mode(), owner.Uid, owner.Gid, info.ModTime().Unix(), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func contentOf(path string, info fs.FileInfo) (string, error) {
	switch info.Mode().Type() {
	case 0:
		d, n, err := digest.OfFile(path)
		return fmt.Sprint(n, d), err
	case fs.ModeSymlink:
		return os.Readlink(path)
	}
	return "", nil
}
