package release

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

	"github.com/flatcar/oem-sysext/oem/digest"
	"github.com/flatcar/oem-sysext/oem/needs"
	"github.com/flatcar/oem-sysext/oem/pack/packtest"
	"github.com/flatcar/oem-sysext/release/initramfs"
	"github.com/flatcar/oem-sysext/release/manifest"
	"github.com/flatcar/oem-sysext/release/vm"
)

// initrdOfQemu is what the release has for an initramfs of QEMU's machines.
func initrdOfQemu(t *testing.T) manifest.Initrd {
	t.Helper()
	theRelease(t)
	for _, i := range made.manifest.Initrds {
		if i.Platform == "qemu" {
			return i
		}
	}
	t.Fatal("the release has nothing for an initramfs of qemu")
	return manifest.Initrd{}
}

// TestInitrdForms unpacks all forms as a kernel does, behind the base's initramfs, and looks for the image in them.
func TestInitrdForms(t *testing.T) {
	i := initrdOfQemu(t)
	signed, err := os.ReadFile(file("oem-qemu" + imageForm))
	if err != nil {
		t.Fatal(err)
	}
	for suffix, c := range map[string]struct {
		path string
		want digest.SHA256
	}{
		systemdForm: {"etc/extensions/oem-qemu.raw", i.Image.SHA256},
		pxeForm:     {"oem/sysext/oem-qemu-" + DefaultVersion + ".raw", i.Image.SHA256},
		stubForm:    {".extra/sysext/oem-qemu.sysext.raw", digest.Of(signed)},
	} {
		var joined bytes.Buffer
		if err := joinPadded(&joined, []string{made.workshop.base.Initrd, file("oem-qemu" + suffix)}); err != nil {
			t.Fatal(err)
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
		if f := made.manifest.File("oem-qemu" + suffix); suffix == pxeForm && f.Size > i.Image.Size+i.Image.Size/50 {
			t.Errorf("%s has %d bytes around an image of %d", suffix, f.Size, i.Image.Size)
		}
	}
}

// TestInitrdImage looks at the image itself: its scope, and the signature of the one for systemd-stub.
func TestInitrdImage(t *testing.T) {
	i := initrdOfQemu(t)
	bare := filepath.Join(t.TempDir(), "image")
	if err := made.workshop.writeBlob(bare, i.Image.SHA256); err != nil {
		t.Fatal(err)
	}
	for _, e := range packtest.Mounted(t, bare) {
		if e.Path != "/usr/lib/extension-release.d/extension-release.oem-qemu" {
			continue
		}
		content, err := os.ReadFile(made.workshop.blobs.Path(e.SHA256))
		if err != nil || !strings.Contains(string(content), "\nSYSEXT_SCOPE=\"initrd system\"\n") {
			t.Errorf("%v: %s", err, content)
		}
	}
	key, err := made.workshop.stubKey()
	if err != nil {
		t.Fatal(err)
	}
	disk := openDDI(t, file("oem-qemu"+imageForm))
	if err := disk.Verify(t.Context(), []*x509.Certificate{key.Certificate()}); err != nil || disk.RootHash != i.RootHash {
		t.Errorf("%v; the root hash is %v and should be %v", err, disk.RootHash, i.RootHash)
	}
}

// TestModules asks for modules of the base's kernel.
func TestModules(t *testing.T) {
	theRelease(t)
	w := made.workshop
	host, err := w.initrdHost()
	if err != nil {
		t.Fatal(err)
	}
	usr, dir := os.DirFS(w.base.Usr), "lib/modules/"+w.base.Release
	lists := []string{dir + "/modules.alias", dir + "/modules.alias.bin", dir + "/modules.dep", dir + "/modules.dep.bin", dir + "/modules.softdep"}
	for name, want := range map[string][]string{
		"virtio_net": {dir + "/kernel/drivers/net/net_failover.ko.xz", dir + "/kernel/drivers/net/virtio_net.ko.xz", dir + "/kernel/net/core/failover.ko.xz"},
		"virtio-blk": nil, // in the initramfs
		"zsmalloc":   nil, // built in
	} {
		got, err := host.Modules(usr, w.base.Release, []string{name})
		if want != nil {
			want = slices.Sorted(slices.Values(append(want, lists...)))
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	if got, err := host.Modules(usr, w.base.Release, []string{"bnx2"}); err != nil || !slices.ContainsFunc(got, func(p string) bool { return strings.Contains(p, "bnx2.ko") }) {
		t.Errorf("%v, %v", got, err) // whose firmware the base has not
	}
	if _, err := host.Modules(usr, w.base.Release, []string{"no_such"}); err == nil || !strings.Contains(err.Error(), "has no module no_such") {
		t.Errorf("error is %v", err)
	}
	module, err := os.ReadFile(filepath.Join(w.base.Usr, dir, "kernel/net/core/failover.ko.xz"))
	if err != nil {
		t.Fatal(err)
	}
	other := fstest.MapFS{
		"lib/modules/1.2.3/modules.dep":           {Data: []byte("kernel/failover.ko.xz:\n")},
		"lib/modules/1.2.3/modules.builtin":       {},
		"lib/modules/1.2.3/kernel/failover.ko.xz": {Data: module},
	}
	want := fmt.Sprintf("module failover is for kernel %q; wanted 1.2.3", w.base.Release)
	if _, err := host.Modules(other, "1.2.3", []string{"failover"}); err == nil || err.Error() != want {
		t.Errorf("error is %v; wanted %s", err, want)
	}
}

// TestInitramfsProof boots.
func TestInitramfsProof(t *testing.T) {
	theRelease(t)
	needs.Programs(t, vm.Programs()...)
	p, err := made.workshop.proveInitramfs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(); err != nil {
		t.Errorf("%v: %+v", err, p)
	}
	none := *p
	none.With = p.Without
	if none.Check() == nil {
		t.Error("the boot without the archive passes for one with it")
	}
}
