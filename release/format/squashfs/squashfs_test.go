package squashfs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
)

var tools *toolroot.Root

// added are a file and a link to it, as the activation has them.
var added = []File{
	{Path: "usr/lib/systemd/system/oem-sysext-link.service", Mode: 0o644, Content: []byte("[Unit]\n")},
	{Path: "usr/lib/systemd/system/initrd.target.wants/oem-sysext-link.service", Target: "../oem-sysext-link.service"},
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// squashfsOf makes an image of what a pseudo file describes.
func squashfsOf(t *testing.T, path, pseudo string, options ...string) {
	t.Helper()
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	if err := os.WriteFile(list, []byte(pseudo), 0o600); err != nil {
		t.Fatal(err)
	}
	err := tools.Run(t.Context(), toolroot.Cmd{
		Program: "mksquashfs", Args: append([]string{"-", path, "-quiet", "-no-progress", "-pf", list}, options...),
		Read: []string{list}, Write: []string{filepath.Dir(path)},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// listing is what unsquashfs says of each entry, and of the image.
func listing(t *testing.T, image string) (entries, about string) {
	t.Helper()
	for into, option := range map[*string]string{&entries: "-lln", &about: "-s"} {
		var out bytes.Buffer
		err := tools.Run(t.Context(), toolroot.Cmd{Program: "unsquashfs", Args: []string{option, image}, Read: []string{image}, Stdout: &out})
		if err != nil {
			t.Fatal(err)
		}
		*into = out.String()
	}
	return entries, about
}

const someInitrd = `/ D 1000000000 755 0 0
dev D 1000000000 755 0 0
dev/console C 1000000000 600 0 0 5 1
init S 1000000000 777 0 0 usr/lib/systemd/systemd
usr D 1000000000 755 0 0
usr/lib D 1000000000 755 0 0
usr/lib/systemd D 1000000000 750 0 7
usr/lib/systemd/systemd F 1000000000 4755 0 0 head -c 300000 /dev/zero
`

func editor(dir string) Editor { return Editor{Tools: tools, Dir: dir, Epoch: epoch} }

func TestAdd(t *testing.T) {
	needs.Root(t)
	tools = toolroottest.Open(t)
	for name, packing := range map[string][]string{
		"zstd": {"-comp", "zstd", "-Xcompression-level", "7", "-b", "256K"},
		"xz":   {"-comp", "xz", "-b", "1M"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			from, to, again := filepath.Join(dir, "from.img"), filepath.Join(dir, "to.img"), filepath.Join(dir, "again.img")
			squashfsOf(t, from, someInitrd, packing...)
			if err := editor(dir).Add(t.Context(), from, to, added); err != nil {
				t.Fatal(err)
			}
			before, aboutBefore := listing(t, from)
			after, aboutAfter := listing(t, to)
			for line := range strings.Lines(before) {
				if !strings.Contains(after, line[:strings.Index(line, "squashfs-root")]) && !strings.HasPrefix(line, "d") { // directories have grown
					t.Errorf("this is gone: %s", line)
				}
			}
			for _, wanted := range []string{
				"-rw-r--r-- 0/0", "squashfs-root/usr/lib/systemd/system/oem-sysext-link.service\n",
				"squashfs-root/usr/lib/systemd/system/initrd.target.wants/oem-sysext-link.service -> ../oem-sysext-link.service\n",
				"-rwsr-xr-x 0/0                  300000 2001-09-09 01:46 squashfs-root/usr/lib/systemd/systemd\n",
				"drwxr-x--- 0/7",
			} {
				if !strings.Contains(after, wanted) {
					t.Errorf("%q is not in\n%s", wanted, after)
				}
			}
			for _, what := range []string{"Compression", "compression-level", "Block size"} {
				if a, b := lineWith(aboutBefore, what), lineWith(aboutAfter, what); a != b {
					t.Errorf("%q became %q", a, b)
				}
			}
			if err := editor(dir).Add(t.Context(), to, again, added); err != nil {
				t.Fatal(err)
			}
			once, twice := read(t, to), read(t, again)
			if !bytes.Equal(once, twice) {
				t.Error("adding twice is not the same as once")
			}
			if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 3 {
				t.Errorf("left are %v, %v", left, err)
			}
		})
	}
}

func TestAddReplaces(t *testing.T) {
	needs.Root(t)
	tools = toolroottest.Open(t)
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from.img"), filepath.Join(dir, "to.img")
	squashfsOf(t, from, "/ D 1 755 0 0\na F 1 600 0 0 echo old\nb F 1 644 0 0 echo other\n")
	blob := filepath.Join(dir, "blob")
	if err := os.WriteFile(blob, []byte("of a blob\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := []File{{Path: "a", Mode: 0o644, Content: []byte("new\n")}, {Path: "new/c", Mode: 0o644, Blob: blob}}
	if err := editor(dir).Add(t.Context(), from, to, files); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := tools.Run(t.Context(), toolroot.Cmd{Program: "unsquashfs", Args: []string{"-cat", to, "a", "b", "new/c"}, Read: []string{to}, Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("new\nother\nof a blob\n", out.String()); diff != "" {
		t.Error(diff)
	}
}

// TestExtract unpacks what was made, links as links.
func TestExtract(t *testing.T) {
	needs.Root(t)
	tools = toolroottest.Open(t)
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from.img"), filepath.Join(dir, "to")
	squashfsOf(t, from, someInitrd+"usr/lib/initrd-release F 1 644 0 0 echo VERSION_ID=1\n")
	if err := Extract(t.Context(), tools, from, to); err != nil {
		t.Fatal(err)
	}
	if text := read(t, filepath.Join(to, "usr/lib/initrd-release")); string(text) != "VERSION_ID=1\n" {
		t.Errorf("%q", text)
	}
	if target, err := os.Readlink(filepath.Join(to, "init")); err != nil || target != "usr/lib/systemd/systemd" {
		t.Errorf("%s, %v", target, err)
	}
}

func TestAddRefusesGarbage(t *testing.T) {
	needs.Root(t)
	tools = toolroottest.Open(t)
	dir := t.TempDir()
	from := filepath.Join(dir, "from.img")
	if err := os.WriteFile(from, bytes.Repeat([]byte("hsqs"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := editor(dir).Add(t.Context(), from, filepath.Join(dir, "to.img"), added); err == nil {
		t.Error("it is accepted")
	}
}

func lineWith(text, what string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, what) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
