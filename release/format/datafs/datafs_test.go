package datafs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
)

// offset is where the file system begins.
const offset = 1 << 20

// disk makes a file system with some files, in the middle of a file.
func disk(t *testing.T, tools *toolroot.Root, program string, args ...string) FileSystem {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"etc/extensions/a.raw": "image", "etc/extensions/sub/b": "b", "etc/passwd": "root", "opt/x y": "x", "opt/tool.raw": "tool"} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/opt/tool.raw", filepath.Join(dir, "etc/extensions/tool.raw")); err != nil {
		t.Fatal(err)
	}
	const length = 128 << 20
	image := filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.WriteFile(image, nil, 0o644), os.Truncate(image, length)); err != nil {
		t.Fatal(err)
	}
	for i := range args {
		args[i] = strings.NewReplacer("DIR", dir, "IMAGE", image).Replace(args[i])
	}
	if err := tools.Run(t.Context(), toolroot.Cmd{Program: program, Args: args, Read: []string{dir}, Write: []string{image}}); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { whole.Close() })
	if _, err := whole.WriteAt(content, offset); err != nil {
		t.Fatal(err)
	}
	if err := whole.Truncate(offset + length + offset); err != nil {
		t.Fatal(err)
	}
	return FileSystem{whole, offset, length}
}

func fileSystems(t *testing.T) map[string]FileSystem {
	needs.Root(t)
	tools := toolroottest.Open(t)
	return map[string]FileSystem{
		"ext4":  disk(t, tools, "mke2fs", "-q", "-t", "ext4", "-d", "DIR", "IMAGE"),
		"btrfs": disk(t, tools, "mkfs.btrfs", "--quiet", "--rootdir", "DIR", "IMAGE"),
	}
}

func TestCopy(t *testing.T) {
	for kind, f := range fileSystems(t) {
		for _, c := range []struct{ paths, want []string }{
			{[]string{"etc/extensions"}, []string{"etc/extensions/a.raw", "etc/extensions/sub/b", "etc/extensions/tool.raw"}},
			{[]string{"opt/tool.raw", "etc/nothing", "opt/x y", "../etc/passwd"}, []string{"opt/tool.raw"}},
			{[]string{"."}, []string{"etc/extensions/a.raw", "etc/extensions/sub/b", "etc/extensions/tool.raw", "etc/passwd", "opt/tool.raw", "opt/x y"}},
		} {
			to := t.TempDir()
			if err := f.Copy(t.Context(), toolroottest.Open(t), to, c.paths...); err != nil {
				t.Fatal(kind, err)
			}
			var found []string
			err := filepath.WalkDir(to, func(name string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					found = append(found, strings.TrimPrefix(name, to+"/"))
				}
				return err
			})
			if err != nil || !slices.Equal(found, c.want) {
				t.Errorf("%s: %q gives %q, %v; wanted %q", kind, c.paths, found, err, c.want)
			}
			if target, err := os.Readlink(filepath.Join(to, "etc/extensions/tool.raw")); slices.Contains(c.want, "etc/extensions/tool.raw") && target != "/opt/tool.raw" {
				t.Errorf("%s: the link leads to %q, %v", kind, target, err)
			}
		}
	}
}

func TestOtherFileSystems(t *testing.T) {
	needs.Root(t)
	for content, want := range map[string]string{"XFSB": "it is xfs", "LUKS\xba\xbe": "it is luks", "nothing": "nothing is known"} {
		file, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.WriteString(content); err != nil {
			t.Fatal(err)
		}
		if err := file.Truncate(1 << 20); err != nil {
			t.Fatal(err)
		}
		err = FileSystem{file, 0, 1 << 20}.Copy(t.Context(), toolroottest.Open(t), t.TempDir(), ".")
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v; wanted %q", content, err, want)
		}
	}
}
