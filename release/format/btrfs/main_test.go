package btrfs

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/format/btrfs/codec"
)

// childEnv makes the test binary run one of children instead of the tests.
const childEnv = "BTRFS_TEST_CHILD"

func TestMain(m *testing.M) {
	if name, isChild := os.LookupEnv(childEnv); isChild {
		if err := children[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// testTools returns the tool root with btrfs-progs.
func testTools(t testing.TB) *toolroot.Root {
	t.Helper()
	return toolroottest.Open(t)
}

// Small, but large enough for a mirror superblock and the gap around it.
const (
	testFilesystem = 96 * size.MiB
	testPartition  = 100 * size.MiB
)

var (
	testEpoch = time.Unix(1_700_000_000, 0)
	testUUID  = UUID{0x20, 0x26, 3: 0xff, 15: 1}
)

// testImage formats source.
func testImage(t testing.TB, source string) string {
	t.Helper()
	needs.Root(t)
	path := filepath.Join(t.TempDir(), "image")
	if err := Format(t.Context(), testTools(t), path, testOptions(source)); err != nil {
		t.Fatal(err)
	}
	return path
}

func testOptions(source string) Options {
	return Options{Source: source, UUID: testUUID, Filesystem: testFilesystem, Partition: testPartition, Epoch: testEpoch}
}

// testTree makes a directory with one of each thing that a file system can get wrong.
func testTree(t testing.TB) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "usr")
	write := func(name string, mode os.FileMode, content []byte) {
		t.Helper()
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, content, 0o600))
		must(t, os.Chmod(path, mode))
	}
	write("bin/su", 0o755|os.ModeSetuid, text(300_000))
	write("bin/ping", 0o755, text(20_000))
	write("share/empty", 0o644, nil)
	write("share/one", 0o600, []byte("x"))
	write("share/inline", 0o644, text(1500))
	write("share/inline-random", 0o644, random(2048))
	write("share/inline-compressed", 0o644, text(4000))
	write("share/no-inline", 0o644, random(2049))
	write("share/unit", 0o644, text(codec.Unit))
	write("share/unit+1", 0o644, text(codec.Unit+1))
	write("share/random", 0o644, random(1<<20))
	write("share/zeros", 0o644, make([]byte, 500_000))
	write("share/-odd \n\\x name ü\xff", 0o644, text(10))
	write("share/"+strings.Repeat("n", 255), 0o644, text(10))
	write("share/secret/owned", 0o640, text(100))
	for i := range 500 {
		write(fmt.Sprintf("lib/many/%03d", i), 0o644, text(i*100))
	}
	sparse(t, filepath.Join(root, "share/sparse"))
	must(t, os.Link(filepath.Join(root, "bin/su"), filepath.Join(root, "share/su")))
	must(t, os.Symlink("../../etc/passwd", filepath.Join(root, "share/outside")))
	must(t, os.Symlink(strings.Repeat("d/", 1000), filepath.Join(root, "share/long-link")))
	must(t, os.Chmod(filepath.Join(root, "share/secret"), 0o750|os.ModeSticky))
	must(t, os.Lchown(filepath.Join(root, "share/secret/owned"), 123, 456))
	must(t, os.Lchown(filepath.Join(root, "share/outside"), 7, 8))
	must(t, unix.Setxattr(filepath.Join(root, "bin/ping"), "security.capability", netRaw, 0))
	must(t, unix.Setxattr(filepath.Join(root, "share/one"), "user.note", bytes.Repeat([]byte("v"), 300), 0))
	must(t, os.Chtimes(filepath.Join(root, "share/one"), time.Unix(1, 5), time.Unix(1_000_000_000, 987654321)))
	return root
}

// netRaw is struct vfs_cap_data of revision 2 with cap_net_raw, permitted and effective.
var netRaw = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

func sparse(t testing.TB, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for _, at := range []int64{5000, 700_000} {
		_, err := f.WriteAt([]byte("data"), at)
		must(t, err)
	}
	must(t, f.Truncate(3<<20))
}

func text(n int) []byte { return bytes.Repeat([]byte("all work and no play "), n/21+1)[:n] }

func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // never fails
	return data
}

// listing describes everything in a directory: type, mode, owner, links, time, attributes and content.
func listing(root string) (map[string]string, error) {
	all := map[string]string{}
	return all, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		all[name], err = describe(path)
		return err
	})
}

func describe(path string) (string, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return "", err
	}
	mtime := min(stat.Mtim.Nano(), testEpoch.UnixNano())
	line := fmt.Sprintf("mode %o owner %d:%d mtime %d", stat.Mode, stat.Uid, stat.Gid, mtime)
	names, err := attributeNames(path)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		value, err := attribute(path, name)
		if err != nil {
			return "", err
		}
		if !strings.HasPrefix(name, "btrfs.") {
			line += fmt.Sprintf(" %s=%x", name, value)
		}
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		sum, n, err := digest.OfFile(path)
		return line + fmt.Sprintf(" links %d size %d sha256 %v", stat.Nlink, n, sum), err
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		return line + " to " + target, err
	}
	return line, nil
}

// checkImage has btrfs-progs check all metadata and data.
func checkImage(t testing.TB, image string) {
	t.Helper()
	var report bytes.Buffer
	err := testTools(t).Run(t.Context(), toolroot.Cmd{
		Program: "btrfs", Args: []string{"check", "--readonly", "--check-data-csum", image}, Read: []string{image}, Stdout: &report,
	})
	if err != nil || !strings.Contains(report.String(), "no error found") {
		t.Errorf("btrfs check: %v\n%s", err, &report)
	}
}

// viewListing is the listing of what is in an image.
func viewListing(t testing.TB, image string) map[string]string {
	t.Helper()
	var got map[string]string
	must(t, View(t.Context(), image, func(root string) (err error) {
		got, err = listing(root)
		return err
	}))
	return got
}

func digestOf(t testing.TB, path string) digest.SHA256 {
	t.Helper()
	d, _, err := digest.OfFile(path)
	must(t, err)
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// addFiles is a change with a bit of everything: new and replaced files, a new directory, a removed one.
func addFiles(root string) error {
	at := func(name string) string { return filepath.Join(root, name) }
	steps := []func() error{
		func() error { return os.RemoveAll(at("lib/many")) },
		func() error { return os.WriteFile(at("share/unit"), text(1000), 0o644) },
		func() error { return os.WriteFile(at("share/random"), nil, 0o644) },
		func() error { return os.MkdirAll(at("share/images"), 0o755) },
		func() error { return os.WriteFile(at("share/images/a.raw"), random(5<<20), 0o644) },
		func() error { return os.WriteFile(at("share/images/b.raw"), text(3<<20), 0o644) },
		func() error { return unix.Setxattr(at("share/images/a.raw"), "user.x", []byte("y"), 0) },
		func() error { return os.Chtimes(at("share/images/a.raw"), testEpoch, testEpoch) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// children are what the test binary does in processes of its own.
var children = map[string]func(args []string) error{
	// make: formats args[0] with the tools in args[2] and edits the result to args[1] under an umask that would show.
	"make": func(args []string) error {
		unix.Umask(0o077)
		tools, err := toolroot.At(args[2])
		if err != nil {
			return err
		}
		base := args[1] + ".base"
		if err := Format(context.Background(), tools, base, testOptions(args[0])); err != nil {
			return err
		}
		return Edit(context.Background(), base, args[1], testEpoch, addFiles)
	},
	// hang: starts to edit args[0], says so, and waits to be killed.
	"hang": func(args []string) error {
		return Edit(context.Background(), args[0], args[0]+".out", testEpoch, func(root string) error {
			if err := addFiles(root); err != nil {
				return err
			}
			fmt.Println("changing")
			select {}
		})
	},
}
