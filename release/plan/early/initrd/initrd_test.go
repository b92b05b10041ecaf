package initrd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/bases/features"
	"github.com/flatcar/oem-sysext/release/format/cpio"
	"github.com/flatcar/oem-sysext/release/format/initramfs"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

var epoch = time.Unix(1700000000, 0)

func image(content string) Image {
	return Image{Name: "oem-x", Size: int64(len(content)), Content: strings.NewReader(content)}
}

// listing returns what a kernel would unpack: type, mode, name, and content or target.
func listing(t *testing.T, archive []byte) []string {
	t.Helper()
	var lines []string
	_, broken, err := initramfs.Read(bytes.NewReader(archive), func(_ initramfs.Segment, m initramfs.Member, content io.Reader) error {
		text, err := io.ReadAll(content)
		lines = append(lines, fmt.Sprintf("%o %s %s%s", m.Mode, m.Name, text, m.Target))
		return err
	})
	if err != nil || broken != nil {
		t.Fatal(err, broken)
	}
	return lines
}

func TestForms(t *testing.T) {
	for name, c := range map[string]struct {
		write func(io.Writer) error
		want  []string
	}{
		"systemd": {func(out io.Writer) error {
			return Systemd(out, image("content"), []embed.File{{Path: "usr/b", Target: "c"}, {Path: "etc/a", Mode: 0o600, Content: []byte("text")}}, epoch)
		}, []string{
			"40755 etc ", "100600 etc/a text", "40755 usr ", "120777 usr/b c", "40755 etc/extensions ", "100644 etc/extensions/oem-x.raw content",
		}},
		"pxe": {func(out io.Writer) error { return PXE(out, OEM{"x", `The "X"`, "4593.2.1+b"}, image("content"), epoch) }, []string{
			"40755 oem ", "100644 oem/oem-release ID=x\nNAME=\"The \\\"X\\\"\"\nVERSION_ID=4593.2.1+b\n", "40755 oem/sysext ",
			"100644 oem/sysext/active-oem-x ", "100644 oem/sysext/oem-x-4593.2.1+b.raw content",
		}},
		"stub": {func(out io.Writer) error { return Stub(out, image("content")) }, []string{
			"40555 .extra ", "40555 .extra/sysext ", "100444 .extra/sysext/oem-x.sysext.raw content",
		}},
	} {
		var out bytes.Buffer
		if err := c.write(&out); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, listing(t, out.Bytes())); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestStubByteForByte writes the archive by hand, as systemd-stub does: nothing but numbers, types, modes, lengths and names differ.
func TestStubByteForByte(t *testing.T) {
	var want strings.Builder
	member := func(inode int, mode, size int, name string, body string) {
		fmt.Fprintf(&want, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
		for want.Len()%4 != 0 {
			want.WriteByte(0)
		}
		want.WriteString(body)
		for want.Len()%4 != 0 {
			want.WriteByte(0)
		}
	}
	member(1, 0o40555, 0, ".extra", "")
	member(2, 0o40555, 0, ".extra/sysext", "")
	member(3, 0o100444, 10, ".extra/sysext/oem-x.sysext.raw", "0123456789")
	want.WriteString("070701" + strings.Repeat("0", 32) + "00000001" + strings.Repeat("0", 48) + "0000000B00000000TRAILER!!!\x00\x00\x00\x00")
	var got bytes.Buffer
	if err := Stub(&got, image("0123456789")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), got.String()); diff != "" {
		t.Error(diff)
	}
}

// hostWith makes an initramfs.
func hostWith(t *testing.T, write func(*cpio.Writer) error) []byte {
	t.Helper()
	var out bytes.Buffer
	w := cpio.NewWriter(&out, epoch)
	if err := errors.Join(write(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func file(w *cpio.Writer, name, content string) error {
	return errors.Join(w.Parents(name), w.File(name, 0o644, int64(len(content)), strings.NewReader(content)))
}

func link(w *cpio.Writer, name, target string) error {
	return errors.Join(w.Parents(name), w.Symlink(name, target))
}

func TestLook(t *testing.T) {
	for name, c := range map[string]struct {
		write     func(*cpio.Writer) error
		want, err string
	}{
		"a link, as dracut has it": {func(w *cpio.Writer) error {
			return errors.Join(link(w, "etc/os-release", "../usr/lib/initrd-release"), file(w, "usr/lib/initrd-release", "ID=x\nVERSION_ID=\"1.2\"\n"))
		}, "1.2", ""},
		"absolute": {func(w *cpio.Writer) error {
			return errors.Join(link(w, "etc/os-release", "/a-release"), file(w, "a-release", "ID=x\n"))
		}, "", ""},
		"in /usr": {func(w *cpio.Writer) error { return file(w, "usr/lib/os-release", "VERSION_ID=3") }, "3", ""},
		"in a circle": {func(w *cpio.Writer) error {
			return errors.Join(link(w, "etc/os-release", "b"), link(w, "etc/b", "os-release"))
		}, "", "it has no os-release"},
		"without":           {func(w *cpio.Writer) error { return file(w, "init", "") }, "", "it has no os-release"},
		"what is not a one": {func(w *cpio.Writer) error { return file(w, "etc/os-release", "what") }, "", "etc/os-release: os-release line 1"},
	} {
		host, err := Look(bytes.NewReader(hostWith(t, c.write)))
		if c.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), c.err) {
				t.Errorf("%s: error is %v; wanted %q", name, err, c.err)
			}
		} else if err != nil || host.VersionID != c.want {
			t.Errorf("%s: %+v, %v; wanted VERSION_ID %q", name, host, err, c.want)
		}
	}
	if _, err := Look(strings.NewReader("junk")); err == nil {
		t.Error("junk is an initramfs")
	}
}

func TestEnable(t *testing.T) {
	usr := func(name string) ([]byte, error) {
		if strings.HasSuffix(name, "tmpfiles") {
			return nil, errors.New("not in /usr")
		}
		return []byte("from /usr: " + name), nil
	}
	paths := func(files []embed.File) string {
		var all []string
		for _, f := range files {
			all = append(all, f.Path)
		}
		return strings.Join(all, " ")
	}
	host := &Host{Paths: map[string]bool{"usr/bin/systemd-tmpfiles": true}}
	const handedOver = "etc/systemd/system/oem-x-hand-over.service etc/systemd/system/initrd.target.wants/oem-x-hand-over.service etc/oem-sysext/oem-x-hand-over.conf "
	for systemd, want := range map[string]string{
		"257": handedOver + "etc/systemd/system/sysinit.target.wants/systemd-sysext.service usr/bin/systemd-sysext usr/lib/systemd/system/systemd-sysext.service",
		"258": handedOver + "etc/systemd/system/initrd.target.wants/systemd-sysext-sysroot.service etc/systemd/system/systemd-sysext-sysroot.service.d/oem-sysext.conf " +
			"etc/systemd/system/initrd.target.wants/systemd-sysext-initrd.service usr/bin/systemd-sysext " +
			"usr/lib/systemd/system/systemd-sysext-initrd.service usr/lib/systemd/system/systemd-sysext-sysroot.service",
	} {
		files, err := host.Enable(Enabling{"oem-x", features.Of(systemd), false}, usr)
		if diff := cmp.Diff(want, paths(files)); diff != "" || err != nil {
			t.Errorf("%s: %v %s", systemd, err, diff)
		}
	}
	if _, err := (&Host{}).Enable(Enabling{"oem-x", features.Of("257"), false}, usr); err == nil || err.Error() != "the initramfs lacks /usr/bin/systemd-tmpfiles: not in /usr" {
		t.Errorf("error is %v", err)
	}
}

// TestEnableFor makes an initramfs that machines of all clouds share merge an image on those of one.
func TestEnableFor(t *testing.T) {
	host := &Host{Paths: map[string]bool{"usr/bin/systemd-tmpfiles": true, "usr/bin/systemd-sysext": true, systemDir + "systemd-sysext-initrd.service": true, systemDir + sysrootUnit: true}}
	blob := digest.Of([]byte("image"))
	files, err := host.EnableFor("ec2", Enabling{"oem-ami", features.Of("258"), true}, blob, nil)
	if err != nil {
		t.Fatal(err)
	}
	has := func(path, text string) {
		t.Helper()
		i := slices.IndexFunc(files, func(f embed.File) bool { return f.Path == path })
		if i < 0 || !strings.Contains(string(files[i].Content), text) || strings.Contains(string(files[i].Content), "%!") {
			t.Errorf("%s is not among the files with %q; there are %+v", path, text, files)
		}
	}
	has("etc/systemd/system/oem-ami-link.service", "\nConditionKernelCommandLine=flatcar.oem.id=ec2\nBefore=systemd-sysext-initrd.service ")
	has("etc/systemd/system/oem-ami-link.service", "\nExecStart=systemd-tmpfiles --create /etc/oem-sysext/oem-ami-link.conf\n")
	has("etc/oem-sysext/oem-ami-link.conf", "L /etc/extensions/oem-ami.raw - - - - /etc/oem-sysext/oem-ami.raw\n")
	has("etc/oem-sysext/oem-ami-hand-over.conf", "C /run/extensions/oem-ami.raw 0644 root root - /etc/oem-sysext/oem-ami.raw\n")
	has("etc/oem-sysext/oem-ami-hand-over.conf", "D /sysroot/run/extensions 0755 root root\nC /sysroot/run/extensions/oem-ami.raw 0644 root root - /etc/oem-sysext/oem-ami.raw\n")
	has("etc/systemd/system/oem-ami-hand-over.service", "Before=oem-sysext-link.service systemd-sysext-sysroot.service initrd.target ")
	has("etc/systemd/system/systemd-modules-load.service.d/oem-sysext.conf", "After=systemd-sysext-initrd.service")
	if last := files[len(files)-1]; last.Path != "etc/oem-sysext/oem-ami.raw" || last.Blob != blob {
		t.Errorf("the image is %+v", last)
	}
}

// TestLookIn reads what is unpacked like what is packed.
func TestLookIn(t *testing.T) {
	dir := fstest.MapFS{
		"etc/os-release": {Data: []byte("../usr/lib/initrd-release"), Mode: fs.ModeSymlink}, "usr/lib/initrd-release": {Data: []byte("VERSION_ID=7\n")},
	}
	if host, err := LookIn(dir); err != nil || host.VersionID != "7" || !host.Has("usr/lib/initrd-release") || host.Has("usr/lib/os-release") {
		t.Errorf("%+v, %v", host, err)
	}
	if _, err := LookIn(fstest.MapFS{"init": {}}); err == nil {
		t.Error("what has no os-release is an initramfs")
	}
}
