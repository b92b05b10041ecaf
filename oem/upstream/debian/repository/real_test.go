package repository

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

// realSuite is the suite of the real archive that tests resolve in.
const realSuite = "trixie"

// TestRealArchive compares with apt and dpkg what comes from the archive that the host's apt uses.
func TestRealArchive(t *testing.T) {
	needs.Programs(t, "apt-get", "dpkg-deb")
	sources, err := HostSources("/etc/apt", os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	a := &Archive{Sources: sources, Log: log, Store: fetch.New(t.TempDir(), log, nil), CacheDir: t.TempDir()}
	r, err := a.Release(t.Context(), realSuite, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	packages, err := r.Packages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("closures", func(t *testing.T) { closuresAsApt(t, r, packages) })
	t.Run("files", func(t *testing.T) { filesAsDpkg(t, a, packages) })
}

// closuresAsApt compares closures over a small base with what apt's solver adds to it.
func closuresAsApt(t *testing.T, r *Release, packages *debian.Packages) {
	status := smallBase(t, r, packages)
	have, err := debian.ParseStatus(strings.NewReader(status))
	if err != nil {
		t.Fatal(err)
	}
	apt := newApt(t, r, status)
	for _, want := range [][]string{
		{"waagent"}, {"open-vm-tools"}, {"qemu-guest-agent"}, {"chrony"}, {"cloud-init"}, {"hyperv-daemons"}, {"nvme-cli"},
		{"amazon-ec2-utils"}, {"google-guest-agent"}, {"google-compute-engine-oslogin"}, {"xenstore-utils"}, {"spice-vdagent"},
		{"waagent", "chrony", "open-vm-tools"},
	} {
		t.Run(strings.Join(want, "+"), func(t *testing.T) {
			t.Parallel()
			closure, err := packages.Closure(debian.Ask{Want: want, Have: have})
			if err != nil {
				t.Fatal(err)
			}
			var ours []string
			for _, p := range closure.Packages {
				ours = append(ours, p.Name+" "+p.Version)
			}
			if diff := cmp.Diff(apt.wouldInstall(t, want...), ours); diff != "" {
				t.Errorf("only apt (-), only we (+):\n%s", diff)
			}
		})
	}
}

// filesAsDpkg compares unpacked packages, one with set-user-ID programs among them, with what dpkg-deb unpacks.
func filesAsDpkg(t *testing.T, a *Archive, packages *debian.Packages) {
	needs.Root(t) // or owners and modes differ
	for _, name := range []string{"sudo", "chrony", "open-vm-tools"} {
		closure, err := packages.Closure(debian.Ask{Want: []string{name}})
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(closure.Packages, func(p debian.Package) bool { return p.Name == name })
		deb, err := a.Deb(t.Context(), closure.Packages[at])
		if err != nil {
			t.Fatal(err)
		}
		theirs, ours := t.TempDir(), t.TempDir()
		if err := run.Run(t.Context(), run.Cmd{Program: "dpkg-deb", Args: []string{"-x", deb, theirs}, Env: run.HostEnv("PATH")}); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(ours)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = root.Close() }()
		if _, err := debian.Unpack(deb, debian.Identity{}, root, func(string) bool { return true }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(inodes(t, theirs), inodes(t, ours)); diff != "" {
			t.Errorf("%s: only dpkg-deb (-), only we (+):\n%s", name, diff)
		}
	}
}

// inodes lists mode, owner, time, size and path of all that is below dir.
// Times of directories are left out: dpkg-deb makes links last and so changes some.
func inodes(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && path != dir {
			err = unix.Lstat(path, &st)
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				st.Mtim.Sec = 0
			}
			lines = append(lines, fmt.Sprintf("%o %d:%d %d %d %s", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Size, strings.TrimPrefix(path, dir)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// smallBase returns the dpkg status of a system with little more than the essential packages and systemd.
func smallBase(t *testing.T, r *Release, packages *debian.Packages) string {
	t.Helper()
	stanzas := map[string]string{} // by name and version
	var want []string
	for _, p := range r.pockets {
		text, err := r.indexText(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		for one := range strings.SplitSeq(text, "\n\n") {
			parsed, err := debian.ReadStanzas(strings.NewReader(one))
			if err != nil {
				t.Fatal(err)
			}
			for _, fields := range parsed {
				name := fields["package"]
				stanzas[name+" "+fields["version"]] = one
				if fields["priority"] == "required" && packages.Version(name) == fields["version"] {
					want = append(want, name)
				}
			}
		}
	}
	closure, err := packages.Closure(debian.Ask{Want: append(want, "systemd", "udev", "apt")})
	if err != nil {
		t.Fatal(err)
	}
	var status strings.Builder
	for _, p := range closure.Packages {
		fmt.Fprintf(&status, "%s\nStatus: install ok installed\nMaintainer: x\nDescription: x\n\n", stanzas[p.Name+" "+p.Version])
	}
	return status.String()
}

// apt is the real solver with a state of its own.
type apt struct {
	options []string
}

func newApt(t *testing.T, r *Release, status string) apt {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"status":       status,
		"sources.list": strings.Join(r.SourceLines(), "\n") + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"state/lists/partial", "cache/archives/partial", "empty"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a := apt{}
	for name, value := range map[string]string{
		"Dir::State":             dir + "/state",
		"Dir::State::status":     dir + "/status",
		"Dir::Cache":             dir + "/cache",
		"Dir::Cache::pkgcache":   "pkgcache.bin", // images for containers turn it off
		"Dir::Etc::sourcelist":   dir + "/sources.list",
		"Dir::Etc::sourceparts":  dir + "/empty",
		"Dir::Etc::trusted":      r.Keyring(),
		"Dir::Etc::trustedparts": dir + "/empty",
		"Dir::Etc::preferences":  dir + "/empty/none",
		"APT::Architecture":      r.Arch,
		"APT::Sandbox::User":     "root",
		"Acquire::Languages":     "none",
	} {
		a.options = append(a.options, "-o"+name+"="+value)
	}
	a.run(t, "update")
	return a
}

func (a apt) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run.Output(t.Context(), run.Cmd{
		Program: "apt-get", Args: append(slices.Clone(a.options), args...), Env: append(run.HostEnv("PATH", "http_proxy", "https_proxy"), "LC_ALL=C"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// instLine is a package that apt would add. One with an installed version in brackets would only be unpacked once more,
// since the base's status lacks fields that apt compares.
var instLine = regexp.MustCompile(`(?m)^Inst (\S+) \((\S+) `)

func (a apt) wouldInstall(t *testing.T, names ...string) []string {
	t.Helper()
	out := a.run(t, append([]string{"install", "-s", "--no-install-recommends"}, names...)...)
	var found []string
	for _, m := range instLine.FindAllStringSubmatch(out, -1) {
		found = append(found, m[1]+" "+m[2])
	}
	slices.Sort(found)
	return found
}
