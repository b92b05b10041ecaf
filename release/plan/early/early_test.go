package early

import (
	"bytes"
	"crypto/x509"
	"errors"
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
	"github.com/flatcar/oem-sysext/oem/image/fit"
	"github.com/flatcar/oem-sysext/oem/image/pack/packtest"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/format/initramfs"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/plan/early/initrd"
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
		if err := join(&joined, []part{{path: made.workshop.base.Initrd}, {path: file("oem-qemu" + suffix)}}); err != nil {
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
	host, err := w.initrdHost(t.Context())
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
	unpacked, err := initrd.LookIn(fstest.MapFS{"usr/lib/os-release": {Data: []byte("VERSION_ID=1\n")}, "usr/" + dir + "/kernel/net/core/failover.ko": {}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"bnx2": "/usr/" + dir + "/kernel/net/core/failover.ko, which the kernel's lists of modules call failover.ko.xz", "zsmalloc": ""} {
		if _, err := unpacked.Modules(usr, w.base.Release, []string{name}); !strings.Contains(fmt.Sprint(err), want) || (want == "") != (err == nil) {
			t.Errorf("an initramfs with unpacked modules is given %s with the error %v; wanted %q", name, err, want)
		}
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

// TestInitramfsProof boots a machine that finds its disk by a module of the platform's image alone.
func TestInitramfsProof(t *testing.T) {
	theRelease(t)
	w := made.workshop
	empty, err := w.format(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	boots, err := w.diskBoots(t.Context(), made.manifest.Initrds)
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.proveInitramfs(t.Context(), empty, boots)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(); err != nil {
		t.Errorf("%v: %+v", err, p)
	}
	p.Boots[0].Said = earlyReport{}
	if p.Check() == nil {
		t.Error("a boot that merges nothing passes for one with the archive")
	}
}

// TestCountInitrds counts the largest archive of each kind in its budget.
func TestCountInitrds(t *testing.T) {
	image := func(id string, systemd, pxe size.Bytes) manifest.Initrd {
		return manifest.Initrd{Platform: id, Files: []manifest.File{{Name: "oem-" + id + systemdForm, Size: systemd}, {Name: "oem-" + id + pxeForm, Size: pxe}}}
	}
	budgets := []fit.Budget{{Name: "usr", Limit: 1}, {Name: "boot", Limit: 100, Used: 10, Fixed: 10}, {Name: "memory", Limit: 200, Used: 20, Fixed: 20}}
	made := []manifest.Initrd{image("a", 3, 5), image("b", 4, 1), {Platform: "c"}}
	got, err := countInitrds(budgets, made)
	want := []fit.Budget{budgets[0], {Name: "boot", Limit: 100, Used: 14, Fixed: 10}, {Name: "memory", Limit: 200, Used: 25, Fixed: 20}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	_, err = countInitrds(budgets, append(made, image("d", 1, 181)))
	if err == nil || !strings.Contains(err.Error(), "memory: 201 B are taken with oem-d.pxe.cpio.gz (181 B), and the layout has room for 200 B") {
		t.Errorf("error is %v", err)
	}
}

// TestEarlyBootCheck says what is wrong with a machine.
func TestEarlyBootCheck(t *testing.T) {
	want := earlyReport{Initramfs: []string{"oem-x"}, System: []string{"oem-x"}, Modules: []string{"a"}, Markers: []string{"/marker/1"}}
	good := EarlyBoot{Want: want, Not: []string{"b"}, Said: earlyReport{Initramfs: want.Initramfs, System: want.System, Modules: []string{"c", "a"}, Markers: want.Markers}}
	if errs := good.check(); len(errs) > 0 {
		t.Error(errs)
	}
	for text, spoil := range map[string]func(*EarlyBoot){
		"in the initramfs are merged []": func(b *EarlyBoot) { b.Said.Initramfs = nil },
		"in the system are merged []":    func(b *EarlyBoot) { b.Said.System = nil },
		"archives left []":               func(b *EarlyBoot) { b.Said.Markers = nil },
		"a is not loaded":                func(b *EarlyBoot) { b.Said.Modules = nil },
		"b is loaded":                    func(b *EarlyBoot) { b.Said.Modules = []string{"a", "b"} },
		"it does not come up: gone":      func(b *EarlyBoot) { b.Err = errors.New("gone") },
		"it comes up; wanted":            func(b *EarlyBoot) { b.Fail = true },
		"against it is <nil>":            func(b *EarlyBoot) { b.Why = "broken" },
		"against it is broken":           func(b *EarlyBoot) { b.Told = errors.New("broken") },
	} {
		b := good
		spoil(&b)
		if errs := b.check(); len(errs) != 1 || !strings.Contains(errs[0].Error(), text) {
			t.Errorf("%v; wanted %q", errs, text)
		}
	}
}

// TestBrokenArchives says why a kernel would not unpack an archive before there is a boot.
func TestBrokenArchives(t *testing.T) {
	broken, err := brokenArchives()
	if err != nil || len(broken) == 0 {
		t.Fatal(broken, err)
	}
	for _, b := range broken {
		path := filepath.Join(t.TempDir(), "initrd")
		if err := atomicfile.Write(path, 0o600, func(out io.Writer) error { return join(out, b.parts) }); err != nil {
			t.Fatal(err)
		}
		if err := ListInitrd(path, io.Discard); err == nil || !strings.Contains(err.Error(), b.Why) {
			t.Errorf("%s: error is %v; wanted %q", b.Name, err, b.Why)
		} else {
			t.Log(err)
		}
	}
}

// TestUnsignedForStub says of an image where systemd-stub leaves it that it has no signature.
func TestUnsignedForStub(t *testing.T) {
	i := initrdOfQemu(t)
	if err := ListInitrd(file("oem-qemu"+stubForm), io.Discard); err != nil {
		t.Error(err)
	}
	bare, err := os.Open(made.workshop.blobs.Path(i.Image.SHA256))
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
	if err := ListInitrd(path, io.Discard); err == nil || !strings.Contains(err.Error(), ".extra/sysext/oem-qemu.sysext.raw has no signature") {
		t.Errorf("error is %v", err)
	}
}

// TestReaders has what we write listed by the programs that people would list it with.
func TestReaders(t *testing.T) {
	theRelease(t)
	root, err := made.workshop.scriptTools(t.Context(), "", []string{"cpio", "gzip", "initramfs-tools-core", "libarchive-tools", "zstd"})
	if err != nil {
		t.Fatal(err)
	}
	for suffix, unpack := range map[string]string{systemdForm: "zstd -dc", pxeForm: "gzip -dc", stubForm: "cat"} {
		archive := file("oem-qemu" + suffix)
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
