// Package datafs copies files out of the file systems on which machines keep what is theirs.
//
// In goes a part of a disk with an ext4 or btrfs file system; out come some of its files, in a directory. The kernel does not mount it, since
// a damaged file system may harm it: debugfs and btrfs restore read it in a sandbox. Refused are other file systems.
package datafs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/format/btrfs/mount"
)

// Where the file systems have their magic numbers (fs/ext4/ext4.h, fs/btrfs/ctree.h, fs/xfs/libxfs/xfs_format.h).
var magics = []struct {
	name   string
	offset int64
	magic  string
}{
	{"ext4", 0x438, "\x53\xef"},
	{"btrfs", 0x10040, "_BHRfS_M"},
	{"xfs", 0, "XFSB"},
	{"luks", 0, "LUKS\xba\xbe"},
}

// ErrUnknown says that there is no file system of a known kind.
var ErrUnknown = errors.New("it has neither an ext4 nor a btrfs file system, so its files cannot be read")

// FileSystem is one on a disk.
type FileSystem struct {
	Disk           *os.File
	Offset, Length int64
}

// kind tells what file system it is.
func (f FileSystem) kind() (string, error) {
	for _, m := range magics {
		found := make([]byte, len(m.magic))
		if _, err := f.Disk.ReadAt(found, f.Offset+m.offset); err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if string(found) == m.magic {
			return m.name, nil
		}
	}
	return "", nil
}

// most is how large a file may be that is copied, in bytes: several times that of an extension image.
const most = 1 << 30

// plain is what a path may consist of.
var plain = regexp.MustCompile(`^[A-Za-z0-9._/+@:=-]+$`)

// Copy copies files, links and whole directories to a directory. Paths have no slash at the beginning, and . is the root directory. What is not
// there is left out, and so is a path with characters that names of extensions do not have.
func (f FileSystem) Copy(ctx context.Context, tools *toolroot.Root, to string, paths ...string) error {
	kind, err := f.kind()
	if err != nil {
		return err
	}
	var program, stdin string
	var args []string
	wanted := wellNamed(paths)
	device, err := mount.Device(ctx, f.Disk, f.Offset, f.Length)
	if err != nil {
		return err
	}
	defer device.Close()
	switch kind {
	case "btrfs":
		program, args = "btrfs", []string{"restore", "--symlink", "--ignore-errors", "--path-regex", pattern(wanted), device.Name(), to}
	case "ext4":
		program, args, stdin = "debugfs", []string{"-f", "-", device.Name()}, dump(wanted, to)
	default:
		return fmt.Errorf("%w: %s", ErrUnknown, orNothing(kind))
	}
	for _, dir := range wanted {
		if err := os.MkdirAll(path.Join(to, path.Dir(dir)), 0o755); err != nil {
			return err
		}
	}
	said := &bytes.Buffer{}
	return tools.Run(ctx, toolroot.Cmd{
		Program: "prlimit", Args: append([]string{fmt.Sprintf("--fsize=%d", most), program}, args...),
		Devices: []string{device.Name()}, Write: []string{to}, Stdin: strings.NewReader(stdin), Stdout: said,
	})
}

func wellNamed(paths []string) (wanted []string) {
	for _, p := range paths {
		if plain.MatchString(p) && path.Clean(p) == p && !path.IsAbs(p) && p != ".." && !strings.HasPrefix(p, "../") {
			wanted = append(wanted, p)
		}
	}
	return wanted
}

// pattern matches paths, all that is below them, and the directories above them.
func pattern(paths []string) string {
	alternatives := []string{""}
	for _, p := range paths {
		if p == "." {
			return "^/.*$"
		}
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			alternatives = append(alternatives, regexp.QuoteMeta(dir))
		}
		alternatives = append(alternatives, regexp.QuoteMeta(p)+"(|/.*)")
	}
	return "^/(" + strings.Join(alternatives, "|") + ")$"
}

// dump is a script for debugfs. It says of what is not there that it is not, and goes on.
func dump(paths []string, to string) string {
	script := ""
	for _, p := range paths {
		script += fmt.Sprintf("rdump \"%s\" \"%s\"\n", path.Join("/", p), path.Join(to, path.Dir(p)))
	}
	return script
}

func orNothing(kind string) string {
	if kind == "" {
		return "nothing is known at its beginning"
	}
	return "it is " + kind
}
