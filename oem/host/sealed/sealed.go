// Package sealed tells whether a directory is still what it was when it was made.
//
// In: a finished directory, of which Seal writes a list into it: type, mode, owner and digest of each entry. Check compares. Files are
// read again only where device, inode, length, mode, owner, mtime or ctime of an entry is another than at the last check: no program can
// set ctime back. So what anything writes is found at once, and what a disk changes by itself is found when the files are read again.
package sealed

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// The files in the directory that are not part of it.
const (
	listFile  = ".sealed"  // the list
	stampFile = ".checked" // the digest of all that the last check saw without reading files
)

// settled is how old the last change must be before a check is remembered: timestamps are coarse.
const settled = time.Second

// Filled returns a function that fills a directory and seals it.
func Filled(fill func(dir string) error) func(dir string) error {
	return func(dir string) error {
		if err := fill(dir); err != nil {
			return err
		}
		return Seal(dir)
	}
}

// Seal writes the list of a directory into it.
func Seal(dir string) error {
	entries, err := walk(dir)
	if err != nil {
		return err
	}
	list, err := listOf(dir, entries)
	if err == nil {
		err = atomicfile.WriteBytes(filepath.Join(dir, listFile), 0o644, list)
	}
	if err != nil {
		return err
	}
	return remember(dir, entries)
}

// Check returns an error that names what differs from the list.
func Check(dir string) error {
	entries, err := walk(dir)
	if err != nil {
		return err
	}
	stamp, _ := stampOf(entries)
	if known, err := os.ReadFile(filepath.Join(dir, stampFile)); err == nil && string(known) == stamp {
		return nil
	}
	want, err := os.ReadFile(filepath.Join(dir, listFile))
	if err != nil {
		return fmt.Errorf("%s has no list of its files; remove it, and run again: %w", dir, err)
	}
	got, err := listOf(dir, entries)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s is not what it was when it was made: %s; remove it, and run again", dir, difference(want, got))
	}
	return remember(dir, entries)
}

// remember keeps what a check saw, if nothing was changed just before. Where nothing can be written, the files are read each time.
func remember(dir string, entries []entry) error {
	stamp, last := stampOf(entries)
	if time.Since(last) < settled {
		return nil
	}
	err := atomicfile.WriteBytes(filepath.Join(dir, stampFile), 0o644, []byte(stamp))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil
	}
	return err
}

// entry is a file, directory or link.
type entry struct {
	path string // relative to the directory
	info fs.FileInfo
	stat *syscall.Stat_t
}

// isOwn tells whether a file is the list or the stamp, or one that another run is writing or was cut off from writing.
func isOwn(name string) bool {
	for _, own := range []string{listFile, stampFile} {
		if name == own || strings.HasPrefix(name, "."+own+".") { // as atomicfile calls what it writes
			return true
		}
	}
	return false
}

// walk lists a directory in the order of names. Devices, and all in the /dev of a root in it, are not there on every machine.
func walk(dir string) ([]entry, error) {
	dir, err := filepath.EvalSymlinks(dir) // WalkDir does not follow it
	if err != nil {
		return nil, err
	}
	var entries []entry
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		if isOwn(name) || d.Type()&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket) != 0 {
			return nil
		}
		if parts := strings.SplitN(name, "/", 3); len(parts) == 3 && parts[1] == "dev" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err == nil {
			entries = append(entries, entry{name, info, info.Sys().(*syscall.Stat_t)})
		}
		return err
	})
	return entries, err
}

// listOf reads the files and returns the list of entries.
func listOf(dir string, entries []entry) ([]byte, error) {
	contents := make([]string, len(entries))
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for i, e := range entries {
		group.Go(func() (err error) {
			contents[i], err = e.content(dir)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var list bytes.Buffer
	for i, e := range entries {
		fmt.Fprintf(&list, "%v %d:%d %s %q\n", e.info.Mode(), e.stat.Uid, e.stat.Gid, contents[i], e.path)
	}
	return list.Bytes(), nil
}

// content is the digest of a file or the target of a link.
func (e entry) content(dir string) (string, error) {
	path := filepath.Join(dir, e.path)
	switch {
	case e.info.Mode().IsRegular():
		d, _, err := digest.OfFile(path)
		return d.String(), err
	case e.info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return fmt.Sprintf("%q", target), err
	}
	return "-", nil
}

// stampOf is the digest of what a check sees without reading files, and the time of the last change.
func stampOf(entries []entry) (stamp string, last time.Time) {
	var seen bytes.Buffer
	for _, e := range entries {
		s := e.stat
		fmt.Fprintf(&seen, "%q %v %d %d %d %d %d %d.%d %d.%d\n", e.path, e.info.Mode(), s.Uid, s.Gid, s.Dev, s.Ino, s.Size, s.Mtim.Sec, s.Mtim.Nsec, s.Ctim.Sec, s.Ctim.Nsec)
		if changed := time.Unix(s.Ctim.Unix()); changed.After(last) {
			last = changed
		}
	}
	return digest.Of(seen.Bytes()).String(), last
}

// difference names the first lines that only one of two lists has.
func difference(want, got []byte) string {
	const most = 3
	known := map[string]bool{}
	for line := range bytes.Lines(want) {
		known[string(line)] = true
	}
	var differs []string
	name := func(line string) {
		if len(differs) < most {
			differs = append(differs, strings.TrimSpace(line[strings.LastIndex(line, ` "`)+1:])) // in a quoted name no space is before a quote
		}
	}
	for line := range bytes.Lines(got) {
		if !known[string(line)] {
			name(string(line))
		}
		delete(known, string(line))
	}
	for line := range bytes.Lines(want) {
		if known[string(line)] && len(differs) == 0 {
			name(string(line))
		}
	}
	return strings.Join(differs, ", ")
}
