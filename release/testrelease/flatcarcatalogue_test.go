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

// programs is a command for each program of the catalogue, by platform, and what it prints. What only a cloud's machine
// can run shows at least that all its libraries and symbols are found.
var programs = map[string]map[string]string{
	"ami": {
		"nvme version":                   "nvme version",
		"docker-credential-ecr-login -v": "amazon-ecr-credential-helper",
		"ec2-metadata --help; true":      "not an EC2 instance",
		"/usr/libexec/kubernetes/credential-provider/ecr-credential-provider --help": "ecr-credential-provider",
	},
	"azure": {
		"azure-nvme-id --version":                "azure-nvme-id",
		"chronyd --version":                      "chronyd (chrony) version 4",
		"python3 -c 'import crypt, ctypes, ssl'": "",
		"waagent --version":                      "WALinuxAgent",
	},
	"gce": {
		"google_oslogin_nss_cache; true":                           "Refreshing group entry cache",
		"LD_PRELOAD=libnss_oslogin.so.2 true":                      "",
		"LD_PRELOAD=libnss_cache_oslogin.so.2 true":                "",
		"LD_PRELOAD=/usr/lib64/security/pam_oslogin_login.so true": "",
	},
	"hetzner":   {"hcloud version": "hcloud"},
	"hyperv":    {"hv_kvp_daemon --help": "Usage"},
	"openstack": {"cloud-init --version": "cloud-init", "qemu-ga --version": "QEMU Guest Agent"},
	"vmware": {
		"LD_BIND_NOW=1 vmtoolsd --version; test $? = 1": "",
		"vmhgfs-fuse --version":                         "",
		"vmware-toolbox-cmd --version; test $? = 1":     "must be run inside a virtual machine",
	},
}

// TestCatalogueOnFlatcarsLayout builds all platforms for a base that is laid out as Flatcar's and has nothing of Debian's
// package database, with all checks, and runs their programs there.
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
	for command, want := range programs[s.Platform.ID.Value] {
		var out bytes.Buffer
		err := run.Run(t.Context(), run.Cmd{
			Program: "unshare", Args: []string{"--mount", "--", "sh", "-euc", merge, dir, usr, "{ " + command + "; } 2>&1"}, Env: run.HostEnv("PATH"), Stdout: &out,
		})
		if err != nil || !strings.Contains(out.String(), want) || strings.Contains(out.String(), "LD_PRELOAD") {
			t.Errorf("%s: %s: %v\n%s", s.Platform.ID, command, err, out.String())
		}
	}
}
