package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/flatcar/oem-sysext/release/format/cpio"
)

// List prints the segments of a buffer, with offset, length and compression, and their members. It also calls look for each
// member. A broken rule is returned as an error after everything readable is printed.
func List(out io.Writer, in io.Reader, look func(m Member, content io.Reader) error) error {
	text := bufio.NewWriter(out)
	shown := int64(-1)
	segments, broken, err := Read(in, func(s Segment, m Member, content io.Reader) error {
		if s.Offset != shown {
			shown = s.Offset
			fmt.Fprintf(text, "at byte %d: %s\n", s.Offset, s.Compression)
		}
		fmt.Fprintln(text, "  "+line(m))
		return look(m, content)
	})
	fmt.Fprintln(text)
	for _, s := range segments {
		fmt.Fprintf(text, "%d bytes from byte %d on: %s, %d members\n", s.Length, s.Offset, s.Compression, s.Members)
	}
	if broken != nil {
		err = errors.Join(broken, err)
	}
	return errors.Join(err, text.Flush())
}

// line is type, permissions, size and name of a member, as the project's other listings have them.
func line(m Member) string {
	kind := "?"
	switch {
	case m.IsDir():
		kind = "d"
	case m.IsLink():
		kind = "l"
	case m.Mode&cpio.ModeType == cpio.ModeFile:
		kind = "-"
	}
	text := fmt.Sprintf("%s%04o %d %s", kind, m.Mode&0o7777, m.Size, printable(m.Name))
	if m.IsLink() {
		text += " -> " + printable(m.Target)
	}
	return text
}

// printable escapes untrusted names for a terminal.
func printable(name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}
