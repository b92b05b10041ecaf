package debian

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/debiantest"
)

// unpacked unpacks a package into an empty root and lists it.
func unpacked(t *testing.T, deb []byte, keep func(string) bool) ([]string, Control, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tool.deb")
	if err := os.WriteFile(path, deb, 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	control, unpackErr := Unpack(path, Identity{Name: "tool"}, root, keep)
	var names []string
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names, control, unpackErr
}

func TestUnpack(t *testing.T) {
	files := []string{
		"./", "./lib/", "./usr/", "./usr/bin/", "./usr/bin/tool", "./bin/sh -> /usr/bin/dash", "./lib/systemd/system/tool.service", "./lib64/ld.so",
		"./sbin -> usr/sbin", "./libx32 -> /usr/libx32", "./etc/tool.conf", "./var/lib/tool/", "./library/x",
	}
	inUsr := []string{"usr/bin/sh", "usr/bin/tool", "usr/lib/systemd/system/tool.service", "usr/lib64/ld.so"}
	names, control, err := unpacked(t, debiantest.Deb(t, files...), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(inUsr, names); diff != "" {
		t.Errorf("wanted (-), got (+):\n%s", diff)
	}
	if diff := cmp.Diff(Control{"package": "tool", "version": "1.0", "architecture": "all"}, control); diff != "" {
		t.Errorf("control, wanted (-), got (+):\n%s", diff)
	}
	names, _, err = unpacked(t, debiantest.Deb(t, files...), func(string) bool { return true })
	if diff := cmp.Diff(append([]string{"etc/tool.conf", "library/x"}, inUsr...), names); diff != "" || err != nil {
		t.Errorf("all: %v, wanted (-), got (+):\n%s", err, diff)
	}
}

func data(t *testing.T) debiantest.Member {
	t.Helper()
	return debiantest.Member{"data.tar", debiantest.Tar(t, "./usr/x")}
}

func TestUnpackRefuses(t *testing.T) {
	const tool = "Package: tool\nVersion: 1.0\nArchitecture: all\n"
	format := debiantest.Member{"debian-binary", "2.0\n"}
	of := func(text string) []byte {
		return debiantest.Ar(format, debiantest.Member{"control.tar", debiantest.Control(t, text)}, data(t))
	}
	control := debiantest.Member{"control.tar.xz", debiantest.Compress(t, debiantest.Control(t, tool))}
	data := data(t)
	good := debiantest.Ar(format, control, data)
	if _, _, err := unpacked(t, good, nil); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	if _, _, err := unpacked(t, debiantest.Ar(format, debiantest.Member{"_gpgorigin", "x"}, control, debiantest.Member{"_other/", "xy"}, data), nil); err != nil {
		t.Errorf("members with an underscore: %v", err)
	}
	for name, test := range map[string]struct {
		deb  []byte
		says string
	}{
		"empty":               {nil, "no ar header"},
		"not a package":       {[]byte("<html>not found</html>"), "no ar header"},
		"format 3":            {debiantest.Ar(debiantest.Member{"debian-binary", "3.0\n"}, control, data), `format version "3.0\n"`},
		"another order":       {debiantest.Ar(control, format, data), "the first member is"},
		"no control":          {debiantest.Ar(format, data), `has a member "data.tar"; wanted control.tar`},
		"no data":             {debiantest.Ar(format, control), "has no data.tar"},
		"lzma":                {debiantest.Ar(format, control, debiantest.Member{"data.tar.lzma", "x"}), `has a member "data.tar.lzma"`},
		"more after":          {debiantest.Ar(format, control, data, data), "unexpected members after data.tar"},
		"empty control":       {debiantest.Ar(format, debiantest.Member{"control.tar", debiantest.Tar(t)}, data), "has no control file"},
		"malformed control":   {debiantest.Ar(format, debiantest.Member{"control.tar", debiantest.Control(t, "x\n")}, data), "is not a field"},
		"two in control":      {debiantest.Ar(format, debiantest.Member{"control.tar", debiantest.Control(t, "A: b\n\nC: d\n")}, data), "2 stanzas"},
		"format of no number": {debiantest.Ar(debiantest.Member{"debian-binary", "2.x\n"}, control, data), `format version "2.x\n"`},
		"format, no line":     {debiantest.Ar(debiantest.Member{"debian-binary", "2.0"}, control, data), `format version "2.0"`},
		"another package":     {of("Package: other\nVersion: 1.0\nArchitecture: all\n"), "control.tar: control: field Package: other; wanted tool"},
		"no version":          {of("Package: tool\nArchitecture: all\n"), `field Version: ""; wanted a value`},
		"no architecture":     {of("Package: tool\nVersion: 1\n"), `field Architecture: ""; wanted a value`},
		"field twice":         {of(tool + "Package: tool\n"), "the field Package occurs twice"},
		"control cut":         {debiantest.Ar(format, debiantest.Member{"control.tar", debiantest.Control(t, tool)[:1024]}, data), "truncated"},
		"more in control":     {debiantest.Ar(format, debiantest.Member{"control.tar", debiantest.Control(t, tool) + "x"}, data), "bytes after the end"},
		"mode of a member":    {bytes.Replace(good, []byte("100644"), []byte("1006x4"), 1), "mode is"},
		"cut":                 {good[:len(good)-700], "truncated"},
		"cut header":          {good[:len(arMagic)+30], "header of a member"},
		"header":              {bytes.Replace(good, []byte("`\n"), []byte("``"), 1), "wanted a backtick"},
		"length":              {bytes.Replace(good, []byte("4         `"), []byte("-4        `"), 1), "length"},
		"outside":             {debiantest.Ar(format, control, debiantest.Member{"data.tar", debiantest.Tar(t, "../x")}), `tool.deb: entry "../x"`},
		"same after merge":    {debiantest.Ar(format, control, debiantest.Member{"data.tar", debiantest.Tar(t, "./lib/x", "./usr/lib/x")}), "two entries of this name"},
	} {
		if _, _, err := unpacked(t, test.deb, func(string) bool { return true }); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error is %v; wanted %q", name, err, test.says)
		}
	}
}

// TestUnpackRealPackages unpacks what dpkg-deb makes.
func TestUnpackRealPackages(t *testing.T) {
	needs.Programs(t, "dpkg-deb")
	tree := t.TempDir()
	for name, content := range map[string]string{
		"DEBIAN/control":   "Package: tool\nVersion: 1.0\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n long\n",
		"usr/bin/tool":     "#!/bin/sh\n",
		"lib/tool/library": strings.Repeat("x", 100_000),
	} {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, compression := range []string{"none", "gzip", "xz", "zstd"} {
		deb := filepath.Join(t.TempDir(), "tool.deb")
		err := run.Run(t.Context(), run.Cmd{
			Program: "dpkg-deb", Args: []string{"--root-owner-group", "-Z" + compression, "--build", tree, deb}, Env: run.HostEnv("PATH"),
		})
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(deb)
		if err != nil {
			t.Fatal(err)
		}
		names, control, err := unpacked(t, content, nil)
		if diff := cmp.Diff([]string{"usr/bin/tool", "usr/lib/tool/library"}, names); diff != "" || err != nil || control["description"] != "x\n long" {
			t.Errorf("%s: %v, %v, wanted (-), got (+):\n%s", compression, err, control, diff)
		}
	}
}

func FuzzAr(f *testing.F) {
	f.Add(debiantest.Deb(f, "./usr/bin/tool"))
	f.Add(debiantest.Ar(debiantest.Member{"a", "1"}, debiantest.Member{"b/", "22"}))
	f.Add([]byte(arMagic))
	f.Fuzz(func(t *testing.T, content []byte) {
		members, err := newArReader(bytes.NewReader(content))
		if err != nil {
			return
		}
		total := len(arMagic)
		for {
			_, member, err := members.next()
			if err != nil {
				break
			}
			n, _ := io.Copy(io.Discard, member)
			if total += arHeaderSize + int(n); total > len(content) {
				t.Fatalf("read %d bytes of %d", total, len(content))
			}
		}
	})
}
