package testreaders

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"testing"

	"github.com/flatcar/oem-sysext/release/format/cpio"
)

// Kernels, for which these archives are, do not miss what fills up the last four bytes of an archive.
const padding, lastPadding = "bsdtar: cut at byte 727", "kernels do not miss the last padding"

func cpioFormat(t *testing.T) format {
	const tree = `mkdir -p tree/d; cd tree; printf hello >a; printf 'hello, hello\n' >d/b; chmod 755 d/b; ln -s b d/link; : >empty; find . -exec touch -h -d @1700000000 {} +; `
	sound := []input{
		{"cpio", script(t, tree+`printf '%s\n' a d d/b d/link empty | cpio --quiet -oH newc -R 0:0 >../out`)},
		{"cpio with sums", script(t, tree+`printf '%s\n' a d d/b d/link empty | cpio --quiet -oH crc -R 0:0 >../out`)},
		{"bsdtar", script(t, tree+`bsdtar --format=newc --uid 0 --gid 0 -cnf ../out a d d/b d/link empty`)},
	}
	return format{
		sound: sound,
		mutants: func(longer int) (all []input) {
			for _, in := range sound {
				all = append(all, cpioMutants(in, longer)...)
			}
			return all
		},
		kept: []string{
			`cpio: name at byte 342 is "x//"`,
			`cpio with sums: magic at byte 364 without sums`,
			`cpio: name at byte 342 is "x/."`,
		},
		ours: ourCpio,
		theirs: []tool{
			{name: "cpio", script: `cpio --quiet -idu --no-absolute-filenames <"$1"`, excuse: map[string]string{padding: lastPadding}, seen: without(2, 3), read: listed(without(2, 3))},
			{name: "bsdtar", script: `bsdtar -pxf "$1"`, excuse: map[string]string{
				padding: lastPadding, "bytes 120 to 232 twice": "it takes a directory that comes twice for a hard link to itself",
			}, seen: without(2, 3), read: listed(without(2, 3))},
		},
	}
}

// listed takes the files of the directory for what was read, as far as they are looked at.
func listed(seen func(string) (string, bool)) func(dir, said string) []string {
	return func(dir, _ string) (all []string) {
		for _, line := range listing(dir) {
			line, _ = seen(line)
			all = append(all, line)
		}
		return all
	}
}

// ourCpio makes files of what is read, as a kernel does.
func ourCpio(_ context.Context, file, dir string) ([]string, error) {
	return unpacked(file, dir, unpackCpio)
}

func unpackCpio(in *os.File, root *os.Root) error {
	r := cpio.NewReader(in)
	var dirs []*cpio.Header
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		name := path.Clean("./" + h.Name)
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		sum := uint32(0)
		for _, c := range content {
			sum += uint32(c)
		}
		switch {
		case h.Summed && h.Mode&cpio.ModeType == cpio.ModeFile && sum != h.Sum:
			return errors.New("another sum") // as our reader of an initramfs does
		case h.IsDir():
			dirs = append(dirs, h)
			err = root.MkdirAll(name, 0o755)
		case h.IsLink():
			err = root.Symlink(string(content), name)
		case h.Mode&cpio.ModeType == cpio.ModeFile:
			if err = root.WriteFile(name, content, 0o600); err == nil {
				err = root.Chmod(name, modeOf(h))
			}
		default:
			return errors.New("a device")
		}
		if err != nil {
			return err
		}
	}
	for _, h := range slices.Backward(dirs) {
		if err := root.Chmod(path.Clean("./"+h.Name), modeOf(h)); err != nil {
			return err
		}
	}
	return nil
}

func modeOf(h *cpio.Header) fs.FileMode {
	mode := fs.FileMode(h.Mode & 0o777)
	for bit, is := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if h.Mode&bit != 0 {
			mode |= is
		}
	}
	return mode
}

var cpioFields = []string{"inode", "mode", "user", "group", "links", "time", "size", "major", "minor", "device major", "device minor", "name size", "sum"}

func cpioMutants(in input, longer int) (all []input) {
	all = slices.Concat(followed(in), flipped(in, 100*longer))
	var places []int
	for at := 0; at < len(in.content)-110; at += 4 {
		if !bytes.HasPrefix(in.content[at:], []byte("07070")) {
			continue
		}
		places = append(places, at)
		for i, name := range cpioFields {
			all = append(all, texts(in, '0', nil, []field{{name, at + 6 + 8*i, 8}},
				"00000000", "00000001", "00000002", "0000000a", "0000000A", "7fffffff", "80000000", "ffffffff", "0000000g", "       5", "5       ", "0x000005", "+0000005", "-0000005", "000081a4", "000041ed", "0000a1ff", "00002190", "00010000", "000001a4", "000081ff", "00008fff", "\x00\x00\x00\x00\x00\x00\x00\x00")...)
		}
		nameAt := at + 110
		end := nameAt + bytes.IndexByte(in.content[nameAt:], 0)
		for _, name := range []string{"", ".", "/", "..", "../x", "/x", "x/", "x//y", "x/../y", "a", "d", "d/link", "x\ny", "x\\y", "x\x00y", "TRAILER!!!", "\xff", "x "} {
			name = (name + "_____________")[:end-nameAt]
			all = append(all, in.put(fmt.Sprintf("name at byte %d is %q", nameAt, name), nameAt, []byte(name)))
		}
		all = append(all, in.put(fmt.Sprintf("magic at byte %d", at), at, []byte("070707")), in.put(fmt.Sprintf("magic at byte %d with sums", at), at, []byte("070702")), in.put(fmt.Sprintf("magic at byte %d without sums", at), at, []byte("070701")),
			in.put(fmt.Sprintf("no zero behind the name at byte %d", end), end, []byte("x")))
	}
	return append(all, parts(in, places...)...)
}
