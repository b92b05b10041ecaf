package cpio

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strings"
	"time"
)

// Writer writes an archive from which a kernel makes the same files every time: owned by root, with one time for all,
// and numbered from 1 on. It is written as systemd-stub writes its own (systemd, src/boot/cpio.c).
//
// Refused is what a kernel would drop without a word or unpack elsewhere: a name that is not relative and clean, a name
// that was there already, a name without its directory before it, a file of 4 GiB or more.
type Writer struct {
	out   io.Writer
	at    int64
	mtime int64 // in seconds since 1970
	inode uint32
	kinds map[string]uint32 // type of what was written, by name
}

// maxPart is NAME_MAX.
const maxPart = 255

// NewWriter returns a writer of an archive in which everything has the time.
func NewWriter(out io.Writer, mtime time.Time) *Writer {
	return &Writer{out: out, mtime: mtime.Unix(), kinds: map[string]uint32{}}
}

// Dir writes a directory.
func (w *Writer) Dir(name string, permissions uint32) error {
	return w.entry(entry{name: name, kind: modeDir, permissions: permissions, links: 1}, nil)
}

// Parents writes the directories above a name that were not written yet, with mode 0755.
func (w *Writer) Parents(name string) error {
	dir := path.Dir(name)
	if _, there := w.kinds[dir]; there || dir == "." || dir == "/" {
		return nil
	}
	if err := w.Parents(dir); err != nil {
		return err
	}
	return w.Dir(dir, 0o755)
}

// Symlink writes a symbolic link.
func (w *Writer) Symlink(name, target string) error {
	if target == "" || len(target) >= maxName || strings.Contains(target, "\x00") {
		return fmt.Errorf("%s is a symbolic link with a target of %d bytes; wanted 1 to %d, none of them zero", name, len(target), maxName-1)
	}
	return w.entry(entry{name: name, kind: modeLink, permissions: 0o777, links: 1, size: int64(len(target))}, strings.NewReader(target))
}

// File writes a file of exactly the size. Further names are hard links to it; their content is with the last of them,
// as cpio(1) writes it.
func (w *Writer) File(name string, permissions uint32, size int64, content io.Reader, links ...string) error {
	names := append([]string{name}, links...)
	count := uint32(len(names))
	for i, n := range names {
		if i > 0 {
			w.inode-- // the same one
		}
		if i < len(names)-1 {
			if err := w.entry(entry{name: n, kind: ModeFile, permissions: permissions, links: count}, nil); err != nil {
				return err
			}
		}
	}
	last := names[len(names)-1]
	return w.entry(entry{name: last, kind: ModeFile, permissions: permissions, links: count, size: size}, content)
}

// Close writes the end of the archive. It does not close what the archive is written to.
func (w *Writer) Close() error {
	_, err := io.WriteString(w.out, magic+strings.Repeat("00000000", 4)+"00000001"+strings.Repeat("00000000", 6)+"0000000B"+"00000000"+trailer+"\x00\x00\x00\x00")
	return err
}

// entry is what a header says.
type entry struct {
	name                     string
	kind, permissions, links uint32
	size                     int64
}

func (w *Writer) entry(e entry, content io.Reader) error {
	if err := w.check(e.name); err != nil {
		return err
	}
	switch {
	case e.size < 0 || e.size > math.MaxUint32:
		return fmt.Errorf("%s has %d B, and the archive can say 4 GiB - 1 B at most", e.name, e.size)
	case w.mtime < 0 || w.mtime > math.MaxUint32:
		return fmt.Errorf("the time is %d seconds after 1970; wanted 0 to %d", w.mtime, uint32(math.MaxUint32))
	case e.permissions > 0o7777:
		return fmt.Errorf("%s has mode %o; wanted permissions up to 7777", e.name, e.permissions)
	}
	w.inode++
	var header strings.Builder
	header.WriteString(magic)
	for _, field := range []uint32{w.inode, e.kind | e.permissions, 0, 0, e.links, uint32(w.mtime), uint32(e.size), 0, 0, 0, 0, uint32(len(e.name) + 1), 0} {
		fmt.Fprintf(&header, "%08x", field)
	}
	header.WriteString(e.name + "\x00")
	if err := w.write(strings.NewReader(header.String()), int64(header.Len())); err != nil {
		return err
	}
	w.kinds[e.name] = e.kind
	if e.size == 0 {
		return nil
	}
	if err := w.write(content, e.size); err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	return nil
}

func (w *Writer) check(name string) error {
	dir := path.Dir(name)
	_, twice := w.kinds[name]
	switch {
	case path.Clean(name) != name || path.IsAbs(name) || name == "." || name == ".." || strings.HasPrefix(name, "../") || strings.Contains(name, "\x00"):
		return fmt.Errorf("%q in an archive; wanted a clean path that is relative to the root", name)
	case name == trailer:
		return fmt.Errorf("%q in an archive, where it means the end", name)
	case len(name) >= maxName || len(path.Base(name)) > maxPart:
		return fmt.Errorf("a name of %d bytes in an archive; wanted less than %d, and %d between slashes", len(name), maxName, maxPart)
	case twice:
		return fmt.Errorf("%s twice in an archive; wanted once", name)
	case dir != "." && w.kinds[dir] != modeDir:
		return fmt.Errorf("%s without a directory %s before it, which no kernel makes by itself", name, dir)
	}
	return nil
}

// write copies exactly size bytes and pads them.
func (w *Writer) write(content io.Reader, size int64) error {
	n, err := io.CopyN(w.out, content, size)
	w.at += n
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("has %d B; wanted %d: %w", n, size, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return err
	}
	if n, err := content.Read(make([]byte, 1)); n > 0 || err == nil {
		return fmt.Errorf("has more than %d B", size)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	pad := padding(w.at)
	w.at += pad
	_, err = w.out.Write(make([]byte, pad))
	return err
}
