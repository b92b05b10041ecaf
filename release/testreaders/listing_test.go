package testreaders

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// listing returns what is below a directory, one line for each: name, type and mode, owner, time, and digest or target. What can
// only be from this run, as the time of a directory that the archive does not have, is "now".
func listing(dir string) []string {
	var all []string
	first := map[uint64]string{} // by inode
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		stat := info.Sys().(*syscall.Stat_t)
		when := fmt.Sprint(info.ModTime().Unix())
		if time.Since(info.ModTime()).Abs() < time.Hour {
			when = "now"
		}
		line := fmt.Sprintf("%q %v %d:%d %s", name, info.Mode(), stat.Uid, stat.Gid, when)
		switch info.Mode().Type() {
		case 0:
			sum, n, err := digest.OfFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %.12s", n, sum)
			if first[stat.Ino] = cmp.Or(first[stat.Ino], name); first[stat.Ino] != name {
				line += fmt.Sprintf(" = %q", first[stat.Ino])
			}
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" -> %q", target)
		}
		all = append(all, line+xattrs(path))
		return nil
	})
	if err != nil {
		return []string{err.Error()}
	}
	slices.Sort(all)
	return all
}

func xattrs(path string) (all string) {
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return ""
	}
	for name := range strings.SplitSeq(strings.Trim(string(names[:n]), "\x00"), "\x00") {
		value := make([]byte, 4096)
		if n, err := unix.Lgetxattr(path, name, value); err == nil && name != "security.selinux" {
			all += fmt.Sprintf(" %s=%q", name, value[:n])
		}
	}
	return all
}

// asRead returns a function for tool.seen that leaves out words of a line, by number from 1 behind the name.
func without(words ...int) func(string) (string, bool) {
	return func(line string) (string, bool) {
		name, rest := quoted(line)
		fields := strings.Fields(rest)
		var kept []string
		for i, field := range fields {
			if !slices.Contains(words, i+1) {
				kept = append(kept, field)
			}
		}
		return strings.TrimSpace(name + " " + strings.Join(kept, " ")), true
	}
}

// quoted splits off the name that a line begins with.
func quoted(line string) (name, rest string) {
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '"':
			return line[:i+1], line[i+1:]
		}
	}
	return line, ""
}

// unpacked lists what one of our readers makes of an archive in an empty directory.
func unpacked(file, dir string, unpack func(in *os.File, root *os.Root) error) ([]string, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := unpack(in, root); err != nil {
		return nil, err
	}
	return listing(dir), nil
}
