package testreaders

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/archive"
)

// pythonZip reads with Python's zipfile, which makes no files: their names, lengths and digests are printed.
const pythonZip = `python3 - "$1" "$2" <<'END'
import hashlib, json, os, sys, zipfile
for n in sorted(os.listdir(sys.argv[1])):
    out = os.path.join(sys.argv[2], n)
    try:
        lines = set()
        with zipfile.ZipFile(os.path.join(sys.argv[1], n)) as z:
            for i in z.infolist():
                content, name = z.read(i), i.filename.rstrip('/')
                parts = name.split('/')
                for end in range(1, len(parts)):
                    lines.add(json.dumps('/'.join(parts[:end])))
                if i.is_dir():
                    lines.add(json.dumps(name))
                elif i.external_attr >> 28 == 10:
                    lines.add(json.dumps(name) + ' -> ' + json.dumps(content.decode()))
                else:
                    lines.add('%s %d %s' % (json.dumps(name), len(content), hashlib.sha256(content).hexdigest()[:12]))
        open(out + '.said', 'w').write('\n'.join(sorted(lines)))
    except Exception as e:
        open(out + '.refused', 'w').close()
        open(out + '.said', 'w').write(repr(e))
END`

func zipFormat(t *testing.T) format {
	const tree = `mkdir -p tree/d; cd tree; printf hello >a; for i in $(seq 40); do printf 'hello, hello\n'; done >d/b; chmod 755 d/b; ln -s b d/link; : >empty; find . -exec touch -h -d @1700000000 {} +; `
	sound := []input{
		{"zip", script(t, tree+`zip -q -X -y -r ../out .`+`; mv ../out.zip ../out`)},
		{"zip with times", script(t, tree+`zip -q -y -r ../out.zip a d/b empty; mv ../out.zip ../out`)},
		{"bsdtar", script(t, tree+`bsdtar --format=zip -cf ../out a d empty`)},
		{"python to a pipe", script(t, tree+`python3 -c "import sys, zipfile
with zipfile.ZipFile(sys.stdout.buffer, 'w', zipfile.ZIP_DEFLATED) as z:
    for name in 'a', 'd/b', 'empty': z.write(name)" | cat >../out`)},
		{"python", script(t, tree+`python3 -m zipfile -c ../out a empty d`)},
	}
	return format{
		sound: sound,
		mutants: func(longer int) (all []input) {
			for _, in := range sound {
				all = append(all, zipMutants(in, longer)...)
			}
			return all
		},
		kept: []string{
			`zip: itself follows`,
			`python: date is 0x801 in both places`,
			`zip: version is 0xffff in both places`,
			`zip: flags is 0x40 in both places`,
		},
		ours: ourZip,
		// Owners are not compared: all entries are root's here, whatever Info-ZIP's fields say.
		theirs: []tool{
			{name: "unzip", script: `unzip -q -o "$1"`, seen: without(2), read: listed(without(2)), excuse: map[string]string{
				`made by at byte`: "as bsdtar's",
				`mode at byte`:    "without -K it drops set-user-ID, set-group-ID and sticky bits",
			}},
			{name: "bsdtar", script: `bsdtar -pxf "$1"`, seen: without(2), read: listed(without(2)), excuse: map[string]string{
				`mode at byte`:    "it adds the right to enter a directory",
				`made by at byte`: "entries of other systems have no mode; it makes up 0664, we 0644",
			}},
			{name: "python", all: pythonZip, read: said, seen: without(1, 2, 3)},
		},
	}
}

func ourZip(_ context.Context, file, dir string) ([]string, error) {
	return unpacked(file, dir, func(in *os.File, root *os.Root) error {
		info, err := in.Stat()
		if err != nil {
			return err
		}
		return archive.Zip(in, info.Size(), root, archive.Options{Name: "archive"})
	})
}

// The fields of an entry's own header, of one in the directory, and of the directory's end (APPNOTE.TXT, 4.3.7, 4.3.12 and 4.3.16).
var (
	zipLocal = []field{{"version", 4, 2}, {"flags", 6, 2}, {"method", 8, 2}, {"time", 10, 2}, {"date", 12, 2}, {"sum", 14, 4}, {"packed size", 18, 4}, {"size", 22, 4}, {"name length", 26, 2}, {"extra length", 28, 2}}
	zipEntry = []field{
		{"made by", 4, 2}, {"version", 6, 2}, {"flags", 8, 2}, {"method", 10, 2}, {"time", 12, 2}, {"date", 14, 2}, {"sum", 16, 4}, {"packed size", 20, 4}, {"size", 24, 4}, {"name length", 28, 2}, {"extra length", 30, 2},
		{"comment length", 32, 2}, {"disk", 34, 2}, {"internal attributes", 36, 2}, {"external attributes", 38, 2}, {"mode", 40, 2}, {"offset", 42, 4},
	}
	zipEnd = []field{{"disk", 4, 2}, {"disk of the directory", 6, 2}, {"entries here", 8, 2}, {"entries", 10, 2}, {"directory size", 12, 4}, {"directory offset", 16, 4}, {"comment length", 20, 2}}
)

func zipMutants(in input, longer int) (all []input) {
	all = slices.Concat(followed(in), flipped(in, 60*longer))
	var places []int
	for _, kind := range []struct {
		magic   string
		length  int
		nameAt  int
		fields  []field
		nameLen int
	}{{"PK\x03\x04", 30, 30, zipLocal, 26}, {"PK\x01\x02", 46, 46, zipEntry, 28}, {"PK\x05\x06", 22, 22, zipEnd, 20}, {"PK\x07\x08", 16, 16, nil, 0}} {
		for from := 0; ; {
			at := bytes.Index(in.content[from:], []byte(kind.magic))
			if at < 0 {
				break
			}
			at += from
			from = at + 4
			places = append(places, at, at+kind.length)
			var here []field
			for _, f := range kind.fields {
				here = append(here, field{f.name, at + f.at, f.length})
			}
			all = append(all, numbers(in, nil, here...)...)
			if kind.nameLen == 0 || kind.nameLen == 20 {
				continue
			}
			length := int(binary.LittleEndian.Uint16(in.content[at+kind.nameLen:]))
			old := string(in.content[at+kind.nameAt : at+kind.nameAt+length])
			places = append(places, at+kind.nameAt+length)
			// Both places of a name are changed, else they only differ.
			for _, name := range []string{"", ".", "/", "..", "../x", "/x", "x/", "x/../y", "a", "d", "d/", "d/link", "d/link/x", "x\ny", "x\\y", "x\x00y", "C:x", "\xff", "x "} {
				name = (name + "________________")[:length]
				all = append(all, input{fmt.Sprintf("%s: name %q is %q", in.name, old, name), bytes.ReplaceAll(in.content, []byte(old), []byte(name))})
			}
		}
	}
	all = append(all, parts(in, places...)...)
	// The same value in both headers.
	first, entry := bytes.Index(in.content, []byte("PK\x03\x04")), bytes.Index(in.content, []byte("PK\x01\x02"))
	for _, f := range zipLocal[:8] {
		for _, value := range []uint16{0, 1, 2, 8, 9, 12, 14, 20, 45, 63, 93, 99, 0x800, 0x801, 0x2000, 0x40, 0xffff} {
			mutant := in.put(fmt.Sprintf("%s is %#x in both places", f.name, value), first+f.at, binary.LittleEndian.AppendUint16(nil, value))
			copy(mutant.content[entry+f.at+2:], binary.LittleEndian.AppendUint16(nil, value))
			all = append(all, mutant)
		}
	}
	return all
}

// said takes the lines that a tool prints for what was read.
func said(_, text string) []string {
	var all []string
	for line := range bytes.Lines([]byte(text)) {
		all = append(all, string(bytes.TrimRight(line, "\n")))
	}
	return all
}
