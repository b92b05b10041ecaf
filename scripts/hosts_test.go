//go:build hosts

package scripts

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
)

// host is a root file system of a distribution, in which the targets run.
type host struct {
	suite string            // of Debian, from which all its programs are
	files map[string]string // in place of those that it has; an empty text removes one
}

// debian822 and debianList are apt's configuration in both of its forms, as Debian's installers write it.
const (
	debian822 = `Types: deb
URIs: MAIN
Suites: SUITE SUITE-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: SECURITY
Suites: SUITE-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`
	debianList = "deb MAIN SUITE main\ndeb MAIN SUITE-updates main\ndeb SECURITY SUITE-security main\n"
	ubuntu822  = `Types: deb
URIs: http://archive.example.org/ubuntu/
Suites: noble noble-updates noble-backports
Components: main universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
`
)

// hosts are those that people have. That of Ubuntu has Debian's programs, and Ubuntu's configuration, name and keyring.
var hosts = map[string]host{
	"Debian 12": {"bookworm", map[string]string{"etc/apt/sources.list": debianList}},
	"Debian 13": {"trixie", map[string]string{"etc/apt/sources.list.d/debian.sources": debian822}},
	"like Ubuntu 24.04": {"trixie", map[string]string{
		"etc/apt/sources.list.d/ubuntu.sources":              ubuntu822,
		"usr/lib/os-release":                                 "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\nNAME=Ubuntu\n",
		"usr/share/keyrings/debian-archive-keyring.gpg":      "",
		"usr/share/keyrings/debian-archive-keyring.pgp":      "",
		"usr/share/keyrings/ubuntu-archive-keyring.gpg":      "no key of Debian's",
		"etc/apt/trusted.gpg.d/ubuntu-keyring-archive.gpg":   "no key of Debian's",
		"usr/share/keyrings/debian-archive-removed-keys.gpg": "",
	}},
}

// enter makes a root of layers above one that is only read, with what a host has beside its files, and runs a command there. All mounts
// are in a namespace of their own and end with it.
const enter = `
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$SCRATCH"
mkdir "$SCRATCH/upper" "$SCRATCH/overlay" "$SCRATCH/root"
mount -t overlay -o "lowerdir=$CHANGES:$LOWER,upperdir=$SCRATCH/upper,workdir=$SCRATCH/overlay" overlay "$SCRATCH/root"
cd "$SCRATCH/root"
mkdir -p proc sys dev tmp root checkout cache usr/local/go root/go/pkg/mod root/.cache/go-build
chmod 1777 tmp
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount --bind "$CHECKOUT" checkout
mount --bind "$CACHE" cache
mount --bind "$GOROOT" usr/local/go
mount --bind "$GOMODCACHE" root/go/pkg/mod
mount --bind -o remount,ro root/go/pkg/mod
mount --bind "$GOCACHE" root/.cache/go-build
cp --remove-destination /etc/resolv.conf etc/resolv.conf
mkdir .outside
pivot_root . .outside # a process whose root is no mount's root makes no user namespaces (user_namespaces(7))
cd /
umount -l .outside
exec /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root GOPROXY=off GOFLAGS=-mod=mod \
	CACHE=/cache OUTPUT=/tmp/out INSTALL=0 "$@"
`

// run runs a target on the host.
func (h host) run(t *testing.T, lower, checkout string, mirrors []string, target ...string) (string, error) {
	t.Helper()
	changes := t.TempDir()
	sources, err := repository.HostSources("/etc/apt", os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range h.files {
		path := filepath.Join(changes, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		content = strings.NewReplacer("MAIN", sources.Main, "SECURITY", sources.Security, "SUITE", h.suite).Replace(content)
		if content == "" { // a whiteout (overlayfs.rst)
			err = exec.CommandContext(t.Context(), "mknod", path, "c", "0", "0").Run()
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	goEnv := func(name string) string {
		out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	args := append([]string{"--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", enter, "enter"}, mirrors...)
	command := exec.CommandContext(t.Context(), "unshare", append(append(args, "/checkout/scripts/mage"), target...)...)
	command.Env = append(run.HostEnv("PATH"), "SCRATCH="+t.TempDir(), "CHANGES="+changes, "LOWER="+lower, "CHECKOUT="+checkout,
		"CACHE="+toolroottest.Cache(t), "GOROOT="+goEnv("GOROOT"), "GOMODCACHE="+goEnv("GOMODCACHE"), "GOCACHE="+goEnv("GOCACHE"))
	out, err := command.CombinedOutput()
	return string(out), err
}

// clone copies what git knows of the checkout.
func clone(ctx context.Context, t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	script := exec.CommandContext(ctx, "sh", "-euc", `git -C .. ls-files -z | tar --create --directory .. --null --files-from - | tar --extract --directory "$0"`, dir)
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// TestHosts runs the entry script on each host. What compiles on the first one is kept for the others, as they have the same Go.
func TestHosts(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, "unshare", "git", "mknod")
	checkout := clone(t.Context(), t)
	sources, err := repository.HostSources("/etc/apt", os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range hosts {
		t.Run(name, func(t *testing.T) {
			programs := []string{"git", "mmdebstrap", "bubblewrap", "util-linux", "mount", "ca-certificates"}
			root, err := toolroottest.With(t, h.suite)(t.Context(), h.suite, programs)
			if err != nil {
				t.Fatal(err)
			}
			lower := root.Path("")
			var mirrors []string
			if strings.Contains(name, "Ubuntu") {
				out, err := h.run(t, lower, checkout, nil, "base:show")
				for _, variable := range []string{repository.EnvMain, repository.EnvSecurity} {
					if err == nil || !strings.Contains(out, "set "+variable+" to an address") {
						t.Errorf("without %s: %v\n%s", variable, err, out)
					}
				}
				mirrors = []string{repository.EnvMain + "=" + sources.Main, repository.EnvSecurity + "=" + sources.Security}
			}
			for target, want := range map[string]string{"-l": "recipe:check", "recipe:check": "platforms are valid", "base:show": "free in /usr"} {
				out, err := h.run(t, lower, checkout, mirrors, target)
				if err != nil || !strings.Contains(out, want) {
					t.Errorf("%s: %v; wanted %q\n%s", target, err, want, out)
				}
			}
		})
	}
}
