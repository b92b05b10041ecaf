package testrelease

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/flatcar/flatcartest"
)

// programs are commands, by platform, that show what the recipes' works: cannot say for every base: that libraries that programs of the base
// load, from where this base has its own, find all that they need.
var programs = map[string][]string{
	"azure": {"python3 -c 'import crypt, ctypes, ssl'"},
	"gce": {
		"LD_PRELOAD=libnss_oslogin.so.2 true",
		"LD_PRELOAD=libnss_cache_oslogin.so.2 true",
		"LD_PRELOAD=/usr/lib64/security/pam_oslogin_login.so true",
	},
}

// TestCatalogueOnFlatcarsLayout builds all platforms for a base that is laid out as Flatcar's and has nothing of Debian's
// package database, with all checks and commands, and runs further programs there.
func TestCatalogueOnFlatcarsLayout(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, append(base.Programs(), "go", "bwrap", "unshare")...)
	partition, _ := flatcartest.Partition(t, toolroottest.Open(t), usrLikeFlatcar(t))
	o := Fresh(t)
	o.BaseID, o.Version, o.Locked = partition, "", true
	w, err := release.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Bench.Close()
	factory, err := w.Factory()
	if err != nil {
		t.Fatal(err)
	}
	staged, err := factory.Stage(t.Context(), w.Choice.Chosen)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range staged {
		if below := s.Tree.Under("/usr/sbin"); len(below) > 0 {
			t.Errorf("%s hides the link /usr/sbin: %v", s.Platform.ID, below.Listing())
		}
		if len(programs[s.Platform.ID.Value]) > 0 {
			runAll(t, factory, w.Base.Usr, s)
		}
	}
}

// runAll runs a platform's programs in a root with its image merged over the base.
func runAll(t *testing.T, f *oem.Factory, usr string, s oem.Staged) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"image", "usr"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := s.Tree.WriteTo(root, f.Blobs.CopyTo); err != nil {
		t.Fatal(err)
	}
	const merge = `cd "$0" && mount -t overlay -o "lowerdir=image/usr:$1" overlay usr
exec bwrap --unshare-all --die-with-parent --ro-bind usr /usr --symlink usr/bin /bin --symlink usr/bin /sbin \
	--symlink usr/lib /lib --symlink usr/lib64 /lib64 --ro-bind "$1/share/flatcar/etc" /etc --tmpfs /tmp --tmpfs /run --tmpfs /var \
	--dev /dev --proc /proc --setenv PATH /usr/bin --chdir / sh -c "$2"`
	for _, command := range programs[s.Platform.ID.Value] {
		var out bytes.Buffer
		err := run.Run(t.Context(), run.Cmd{
			Program: "unshare", Args: []string{"--mount", "--", "sh", "-euc", merge, dir, usr, "{ " + command + "; } 2>&1"}, Env: run.HostEnv("PATH"), Stdout: &out,
		})
		if err != nil || strings.Contains(out.String(), "LD_PRELOAD") {
			t.Errorf("%s: %s: %v\n%s", s.Platform.ID, command, err, out.String())
		}
	}
}
