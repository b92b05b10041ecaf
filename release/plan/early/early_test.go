package early_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/pack/packtest"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/format/ddi"
	"github.com/flatcar/oem-sysext/release/format/initramfs"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/plan/early"
	"github.com/flatcar/oem-sysext/release/plan/early/initrd"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

func TestMain(m *testing.M) { testrelease.Main(m) }

// initrdOfQemu is what the release has for an initramfs of QEMU's machines.
func initrdOfQemu(t *testing.T) (*testrelease.Release, manifest.Initrd) {
	t.Helper()
	made := testrelease.Made(t)
	for _, i := range made.Manifest.Initrds {
		if i.Platform == "qemu" {
			return made, i
		}
	}
	t.Fatal("the release has nothing for an initramfs of qemu")
	return made, manifest.Initrd{}
}

// TestInitrdForms unpacks all forms as a kernel does, behind the base's initramfs, and looks for the image in them.
func TestInitrdForms(t *testing.T) {
	made, i := initrdOfQemu(t)
	signed, err := os.ReadFile(made.File("oem-qemu" + early.ImageForm))
	if err != nil {
		t.Fatal(err)
	}
	for suffix, c := range map[string]struct {
		path string
		want digest.SHA256
	}{
		early.SystemdForm: {"etc/extensions/oem-qemu.raw", i.Image.SHA256},
		early.PXEForm:     {"oem/sysext/oem-qemu-" + setup.DefaultVersion + ".raw", i.Image.SHA256},
		early.StubForm:    {".extra/sysext/oem-qemu.sysext.raw", digest.Of(signed)},
	} {
		var joined bytes.Buffer
		for _, path := range []string{made.Base.Initrd, made.File("oem-qemu" + suffix)} {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			joined.Write(content)
			joined.Write(make([]byte, -len(content)&3)) // as boot loaders do
		}
		var got digest.SHA256
		_, broken, err := initramfs.Read(&joined, func(_ initramfs.Segment, m initramfs.Member, content io.Reader) error {
			if m.Name != c.path {
				return nil
			}
			var err error
			got, _, err = digest.OfReader(content)
			return err
		})
		if broken != nil || err != nil || got != c.want {
			t.Errorf("%s: %v, %v; %s is %v and should be %v", suffix, broken, err, c.path, got, c.want)
		}
		// systemd's form brings what the initramfs lacks along.
		if f := made.Manifest.File("oem-qemu" + suffix); suffix == early.PXEForm && f.Size > i.Image.Size+i.Image.Size/50 {
			t.Errorf("%s has %d bytes around an image of %d", suffix, f.Size, i.Image.Size)
		}
	}
}

// TestInitrdImage looks at the image itself: its scope, and the signature of the one for systemd-stub.
func TestInitrdImage(t *testing.T) {
	made, i := initrdOfQemu(t)
	bare := filepath.Join(t.TempDir(), "image")
	if err := ship.WriteBlob(made.Bench.Blobs, bare, i.Image.SHA256); err != nil {
		t.Fatal(err)
	}
	for _, e := range packtest.Mounted(t, bare) {
		if e.Path != "/usr/lib/extension-release.d/extension-release.oem-qemu" {
			continue
		}
		content, err := os.ReadFile(made.Bench.Blobs.Path(e.SHA256))
		if err != nil || !strings.Contains(string(content), "\nSYSEXT_SCOPE=\"initrd system\"\n") {
			t.Errorf("%v: %s", err, content)
		}
	}
	f, err := os.Open(made.File("oem-qemu" + early.ImageForm))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	disk, err := ddi.Read(f, int64(made.Manifest.File("oem-qemu"+early.ImageForm).Size))
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Verify(t.Context(), []*x509.Certificate{made.Keys.Stub.Certificate()}); err != nil || disk.RootHash != i.RootHash {
		t.Errorf("%v; the root hash is %v and should be %v", err, disk.RootHash, i.RootHash)
	}
}

// TestModules asks for modules of the base's kernel.
func TestModules(t *testing.T) {
	w := testrelease.Made(t)
	host, err := early.Look(t.Context(), w.Bench, w.Base)
	if err != nil {
		t.Fatal(err)
	}
	usr, dir := os.DirFS(w.Base.Usr), "lib/modules/"+w.Base.Release
	lists := []string{dir + "/modules.alias", dir + "/modules.alias.bin", dir + "/modules.dep", dir + "/modules.dep.bin", dir + "/modules.softdep"}
	for name, want := range map[string][]string{
		"virtio_net": {dir + "/kernel/drivers/net/net_failover.ko.xz", dir + "/kernel/drivers/net/virtio_net.ko.xz", dir + "/kernel/net/core/failover.ko.xz"},
		"virtio-blk": nil, // in the initramfs
		"zsmalloc":   nil, // built in
	} {
		got, err := host.Modules(usr, w.Base.Release, []string{name})
		if want != nil {
			want = slices.Sorted(slices.Values(append(want, lists...)))
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	if got, err := host.Modules(usr, w.Base.Release, []string{"bnx2"}); err != nil || !slices.ContainsFunc(got, func(p string) bool { return strings.Contains(p, "bnx2.ko") }) {
		t.Errorf("%v, %v", got, err) // whose firmware the base has not
	}
	if _, err := host.Modules(usr, w.Base.Release, []string{"no_such"}); err == nil || !strings.Contains(err.Error(), "has no module no_such") {
		t.Errorf("error is %v", err)
	}
	unpacked, err := initrd.LookIn(fstest.MapFS{"usr/lib/os-release": {Data: []byte("VERSION_ID=1\n")}, "usr/" + dir + "/kernel/net/core/failover.ko": {}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"bnx2": "/usr/" + dir + "/kernel/net/core/failover.ko, which the kernel's lists of modules call failover.ko.xz", "zsmalloc": ""} {
		if _, err := unpacked.Modules(usr, w.Base.Release, []string{name}); !strings.Contains(fmt.Sprint(err), want) || (want == "") != (err == nil) {
			t.Errorf("an initramfs with unpacked modules is given %s with the error %v; wanted %q", name, err, want)
		}
	}
	module, err := os.ReadFile(filepath.Join(w.Base.Usr, dir, "kernel/net/core/failover.ko.xz"))
	if err != nil {
		t.Fatal(err)
	}
	other := fstest.MapFS{
		"lib/modules/1.2.3/modules.dep":           {Data: []byte("kernel/failover.ko.xz:\n")},
		"lib/modules/1.2.3/modules.builtin":       {},
		"lib/modules/1.2.3/kernel/failover.ko.xz": {Data: module},
	}
	want := fmt.Sprintf("module failover is for kernel %q; wanted 1.2.3", w.Base.Release)
	if _, err := host.Modules(other, "1.2.3", []string{"failover"}); err == nil || err.Error() != want {
		t.Errorf("error is %v; wanted %s", err, want)
	}
}

// TestLargest finds the largest file of a form.
func TestLargest(t *testing.T) {
	image := func(id string, systemd, pxe size.Bytes) manifest.Initrd {
		return manifest.Initrd{Platform: id, Files: []manifest.File{{Name: "oem-" + id + early.SystemdForm, Size: systemd}, {Name: "oem-" + id + early.PXEForm, Size: pxe}}}
	}
	made := []manifest.Initrd{image("a", 3, 5), image("b", 4, 1), {Platform: "c"}}
	for suffix, want := range map[string]manifest.File{
		early.SystemdForm: {Name: "oem-b.initrd.cpio.zst", Size: 4}, early.PXEForm: {Name: "oem-a.pxe.cpio.gz", Size: 5}, early.StubForm: {},
	} {
		if got := early.Largest(made, suffix); got != want {
			t.Errorf("%s: %v; wanted %v", suffix, got, want)
		}
	}
}

// TestUnsignedForStub says of an image where systemd-stub leaves it that it has no signature.
func TestUnsignedForStub(t *testing.T) {
	made, i := initrdOfQemu(t)
	if err := early.List(made.File("oem-qemu"+early.StubForm), io.Discard); err != nil {
		t.Error(err)
	}
	bare, err := os.Open(made.Bench.Blobs.Path(i.Image.SHA256))
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	path := filepath.Join(t.TempDir(), "cpio")
	err = atomicfile.Write(path, 0o600, func(out io.Writer) error {
		return initrd.Stub(out, initrd.Image{Name: "oem-qemu", Size: int64(i.Image.Size), Content: bare})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := early.List(path, io.Discard); err == nil || !strings.Contains(err.Error(), ".extra/sysext/oem-qemu.sysext.raw has no valid signature") {
		t.Errorf("error is %v", err)
	}
}

// TestReaders has what we write listed by the programs that people would list it with.
func TestReaders(t *testing.T) {
	made := testrelease.Made(t)
	root := toolroottest.Judges(t)
	for suffix, unpack := range map[string]string{early.SystemdForm: "zstd -dc", early.PXEForm: "gzip -dc", early.StubForm: "cat"} {
		archive := made.File("oem-qemu" + suffix)
		want := listed(t, archive)
		for _, script := range []string{unpack + ` <"$1" | cpio --list --quiet`, `bsdtar -tf "$1"`, `lsinitramfs "$1"`} {
			var out bytes.Buffer
			err := root.Run(t.Context(), toolroot.Cmd{Program: "sh", Args: []string{"-euc", script, "sh", archive}, Read: []string{archive}, Stdout: &out})
			got := strings.Fields(strings.ReplaceAll(out.String(), "/\n", "\n")) // bsdtar ends directories in slashes
			if diff := cmp.Diff(want, slices.Sorted(slices.Values(got))); err != nil || diff != "" {
				t.Errorf("%s of %s: %v %s", script, suffix, err, diff)
			}
		}
	}
}

// listed is what our own reader finds.
func listed(t *testing.T, archive string) []string {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	_, broken, err := initramfs.Read(f, func(_ initramfs.Segment, m initramfs.Member, _ io.Reader) error {
		names = append(names, m.Name)
		return nil
	})
	if err != nil || broken != nil {
		t.Fatal(err, broken)
	}
	return slices.Sorted(slices.Values(names))
}
