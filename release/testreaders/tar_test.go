package testreaders

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/archive"
)

// treeScript makes a tree with each kind of entry that packages have.
const treeScript = `mkdir -p tree/d/e; cd tree
printf hello >a; printf 'hello, hello\n' >d/b; chmod 4755 d/b; : >d/empty; ln d/b d/hard; ln -s b d/link; ln -s /usr/lib d/absolute
printf 'an owner' >d/e/c; chown 7:8 d/e/c; chmod 2775 d/e; find . -exec touch -h -d @1700000000 {} +
names='a d d/b d/empty d/hard d/link d/absolute d/e d/e/c'
`

func tarFormat(t *testing.T) format {
	const tar = treeScript + `tar --format=%s --numeric-owner --no-recursion -cf ../out $names`
	long := strings.Repeat("l/", 20) + strings.Repeat("n", 100)
	sound := []input{
		{"ustar", script(t, fmt.Sprintf(tar, "ustar"))},
		{"gnu", script(t, fmt.Sprintf(tar, "gnu"))},
		{"v7", script(t, fmt.Sprintf(tar, "v7"))},
		{"pax", script(t, fmt.Sprintf(tar, "pax"))},
		{"bsdtar", script(t, treeScript+`bsdtar --format=pax --numeric-owner -cnf ../out $names`)},
		{"gnu long", script(t, `mkdir -p `+filepath.Dir(long)+`; printf x >`+long+`; ln -s `+long+` s; tar --format=gnu -cf out l s`)},
		{"pax long", script(t, `mkdir -p `+filepath.Dir(long)+`; printf x >`+long+`; ln -s `+long+` s; tar --format=pax -cf out l s`)},
		{"sparse", script(t, `printf x >f; truncate -s 1M f; printf y >>f; tar --format=gnu -Scf out f`)},
		{"sparse pax", script(t, `printf x >f; truncate -s 1M f; printf y >>f; tar --format=pax -Scf out f`)},
		{"capability", script(t, treeScript+`python3 -c "import os; os.setxattr('a', 'security.capability', bytes.fromhex('0100000200200000000000000000000000000000'))"; tar --xattrs --xattrs-include='*' --format=pax -cf ../out a`)},
	}
	return format{
		sound:   sound,
		mutants: func(longer int) []input { return tarMutants(sound, longer) },
		kept: []string{
			`pax: one at the end`,
			`pax: two extended headers`,
			`pax: one before a global one`,
			`pax: path and long name`,
			`pax: size=+7`,
			`pax: mtime=`,
			`pax: uid=4294967296, of a hard link`,
			`pax: path set and unset`,
			`pax: path=d/`,
			`pax: GNU.sparse.name=n`,
			`pax: sparse 2.0`,
			`pax: SCHILY and LIBARCHIVE`,
			`pax: SCHILY.realsize=3`,
			`pax: a file with slash`,
			`pax: empty long name`,
			`pax: long target of a link`,
			`pax: atime=x, global`,
			`gnu: prefix at byte 345 is "x//y"`,
			`ustar: mtime at byte 136 is "777777777777"`,
			`ustar: uid at byte 108 is "5\x005"`,
		},
		ours: ourTar,
		theirs: []tool{
			{name: "tar", script: `tar --numeric-owner -p --same-owner --xattrs --xattrs-include='*' -xf "$1"`},
			{name: "bsdtar", script: `bsdtar --numeric-owner -pxf "$1"`},
		},
	}
}

func ourTar(_ context.Context, file, dir string) ([]string, error) {
	return unpacked(file, dir, func(in *os.File, root *os.Root) error { return archive.Tar(in, root, archive.Options{Name: "archive"}) })
}

// tarFields are those of a header (POSIX.1-2017, pax, "ustar Interchange Format").
var tarFields = []field{
	{"name", 0, 100}, {"mode", 100, 8}, {"uid", 108, 8}, {"gid", 116, 8}, {"size", 124, 12}, {"mtime", 136, 12}, {"chksum", 148, 8},
	{"typeflag", 156, 1}, {"linkname", 157, 100}, {"magic", 257, 6}, {"version", 263, 2}, {"uname", 265, 32}, {"gname", 297, 32},
	{"devmajor", 329, 8}, {"devminor", 337, 8}, {"prefix", 345, 155},
}

var (
	tarNumbers = []string{
		"", "0", "0000007", "7777777", "00000000005", "5", "  5 ", " 5", "5 5", "5\x005", "-1", "+5", "0x5", "8", "9999999", "0000005x", "\t5", "\x80\x00\x00\x00\x00\x00\x00\x05",
		"\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "77777777777", "777777777777", "0100644", "0120777", "0007777", "0010000",
	}
	tarNames = []string{
		"", ".", "./", "/", "..", "../x", "x/../y", "/x", "//x", "x/", "x//y", "x/./y", "./x", "a", "d", "d/b", "d/link/x", "x\ny", "x\\y", "x\x1by", "x\x00y", " x", "x ", "\xff\xfe", "ü",
		strings.Repeat("x", 99), strings.Repeat("x", 100), strings.Repeat("y/", 50),
	}
	tarTypes  = []string{"\x00", "0", "1", "2", "3", "4", "5", "6", "7", "8", "A", "D", "K", "L", "M", "N", "S", "V", "X", "g", "x", "Z"}
	tarMagics = []string{"", "ustar", "ustar ", "ustar  ", "USTAR", "ustar\x0000", "xxxxxx", "ustar\x00  "}
)

// tarMutants changes each field of some headers, the records of extended headers, and the order of blocks.
func tarMutants(sound []input, longer int) (all []input) {
	for _, in := range sound {
		all = append(all, followed(in)...)
		var blocks []int
		used := len(bytes.TrimRight(in.content, "\x00"))
		for at := 0; at < used+3*512 && at < len(in.content); at += 512 {
			blocks = append(blocks, at)
		}
		all = append(all, parts(in, blocks...)...)
		all = append(all, flipped(input{in.name, in.content[:min(len(in.content), used+1024)]}, 25*longer)...)
		all = append(all, summed(flipped(in, 25*longer))...)
	}
	for _, in := range sound[:2] { // ustar and gnu
		for _, header := range headers(in.content) {
			for _, f := range tarFields {
				values := tarNumbers
				switch f.name {
				case "name", "linkname", "prefix", "uname", "gname":
					values = tarNames
				case "typeflag":
					values = tarTypes
				case "magic", "version":
					values = tarMagics
				}
				f.at += header
				mend := func(content []byte) { mendTar(content[header:]) }
				if f.name == "chksum" {
					mend = nil
				}
				all = append(all, texts(in, 0, mend, []field{f}, values...)...)
			}
		}
	}
	return append(all, paxMutants()...)
}

// headers are the places of the headers of the first file, directory, hard link and symbolic link of an archive of treeScript.
func headers(content []byte) (at []int) {
	for _, name := range []string{"a\x00", "d/\x00", "d/hard\x00", "d/link\x00"} {
		for block := 0; block < len(content); block += 512 {
			if bytes.HasPrefix(content[block:], []byte(name)) {
				at = append(at, block)
				break
			}
		}
	}
	return at
}

// mendTar corrects the sum of a header.
func mendTar(header []byte) {
	copy(header[148:], "        ")
	sum := 0
	for _, b := range header[:512] {
		sum += int(b)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
}

// summed corrects the sums of all headers, so that what was changed in them is looked at.
func summed(all []input) []input {
	for i, in := range all {
		all[i].name += ", sums mended"
		for at := 0; at+512 <= len(in.content); at += 512 {
			if bytes.HasPrefix(in.content[at+257:], []byte("ustar")) {
				mendTar(in.content[at:])
			}
		}
	}
	return all
}

// record is one of an extended header: its length, counted with itself, a blank, name, value and a line break.
func record(text string) string {
	for n := len(text) + 3; ; n++ {
		if one := fmt.Sprintf("%d %s\n", n, text); len(one) == n {
			return one
		}
	}
}

func tarMember(name string, kind byte, content string) []byte {
	header := make([]byte, 512)
	copy(header, name)
	copy(header[100:], "0000644\x000000000\x000000000\x00")
	copy(header[124:], fmt.Sprintf("%011o\x0014524753200\x00", len(content)))
	header[156] = kind
	copy(header[257:], "ustar\x0000")
	mendTar(header)
	return slices.Concat(header, []byte(content), make([]byte, -len(content)&511))
}

// paxMutants has all sorts of extended headers before a file.
func paxMutants() (all []input) {
	end := make([]byte, 1024)
	file, next := tarMember("f", '0', "content"), tarMember("g", '0', "next")
	link := tarMember("l", '2', "")
	add := func(name string, blocks ...[]byte) {
		all = append(all, input{"pax: " + name, slices.Concat(append(blocks, end)...)})
	}
	records := map[string]string{}
	for _, text := range []string{
		"path=p", "path=", "path=../p", "path=/p", "path=p\x00q", "path=p\nq", "path=d/", "path=.", "path=p/../q", "path", "=p", "path==p", "PATH=p", " path=p", "path =p",
		"size=3", "size=7", "size=8", "size=-1", "size=", "size=7.0", "size=0", "size=07", "size= 7", "size=7 ", "size=+7", "size=0x7", "size=99999999999999999999", "size=9223372036854775807",
		"mtime=1", "mtime=1.5", "mtime=-1", "mtime=", "mtime=x", "mtime=1.", "mtime=.5", "mtime=1.x", "mtime=1e3", "mtime=99999999999999999999", "mtime=1.123456789123",
		"uid=5", "uid=-1", "uid=", "uid=x", "uid=4294967295", "uid=4294967296", "uid=4294967294", "gid=5", "gid=5.0", "gid=4294967296",
		"uname=root", "linkpath=x", "linkpath=../x", "linkpath=", "linkpath=/x", "hdrcharset=BINARY", "hdrcharset=ISO-IR 10646 2000 UTF-8", "hdrcharset=x", "charset=x", "comment=x", "atime=x", "ctime=1",
		"SCHILY.xattr.user.x=y", "SCHILY.xattr.user.x=", "SCHILY.xattr.=y", "SCHILY.xattr.user.=y", "SCHILY.xattr.trusted.x=y", "SCHILY.xattr.system.posix_acl_access=y", "SCHILY.xattr.security.capability=x", "SCHILY.xattr.user.x\x00y=z", "LIBARCHIVE.xattr.user.x=eQ", "LIBARCHIVE.xattr.user.x=eQ==", "LIBARCHIVE.symlinktype=dir",
		"SCHILY.acl.access=user::rw-,group::r--,other::r--,user:5:rwx,mask::rwx", "SCHILY.fflags=nodump", "SCHILY.realsize=3", "SCHILY.dev=1", "SCHILY.ino=5", "SCHILY.nlink=2", "SCHILY.devmajor=1",
		"GNU.sparse.size=100", "GNU.sparse.realsize=100", "GNU.sparse.name=n", "GNU.sparse.major=1", "GNU.sparse.map=0,3", "GNU.volume.label=x", "GNU.dumpdir=Yx", "RHT.security.selinux=x", "VENDOR.x=y", "x=y",
	} {
		records[text] = record(text)
	}
	for text, encoded := range map[string]string{
		"no length": "path=p\n", "length 0": "0 path=p\n", "too long": "99 path=p\n", "too short": "9 path=pq\n", "leading zero": "010 path=p\n", "a plus": "+10 path=p\n", "no line break": "9 path=p", "a tab": "10\tpath=p\n", "negative": "-10 path=p\n",
		"zeros behind": record("path=p") + "\x00\x00\x00", "rubbish behind": record("path=p") + "rubbish", "a line break behind": record("path=p") + "\n", "path twice": record("path=p") + record("path=q"), "size twice": record("size=7") + record("size=3"),
		"empty": "", "path set and unset": record("path=p") + record("path="), "sparse 0.0": record("GNU.sparse.size=100") + record("GNU.sparse.numblocks=1") + record("GNU.sparse.offset=0") + record("GNU.sparse.numbytes=7"),
		"sparse 0.1":                  record("GNU.sparse.size=100") + record("GNU.sparse.numblocks=1") + record("GNU.sparse.map=0,7"),
		"sparse 0.1, overlap":         record("GNU.sparse.size=100") + record("GNU.sparse.numblocks=2") + record("GNU.sparse.map=0,4,2,3"),
		"sparse 0.1, too long":        record("GNU.sparse.size=5") + record("GNU.sparse.numblocks=1") + record("GNU.sparse.map=0,7"),
		"sparse 0.1, too few":         record("GNU.sparse.size=100") + record("GNU.sparse.numblocks=2") + record("GNU.sparse.map=0,7"),
		"sparse 0.1, backwards":       record("GNU.sparse.size=100") + record("GNU.sparse.numblocks=2") + record("GNU.sparse.map=50,4,0,3"),
		"sparse 0.1, other name":      record("GNU.sparse.size=100") + record("GNU.sparse.numblocks=1") + record("GNU.sparse.map=0,7") + record("GNU.sparse.name=n"),
		"sparse 1.0 without a map":    record("GNU.sparse.major=1") + record("GNU.sparse.minor=0") + record("GNU.sparse.name=n") + record("GNU.sparse.realsize=100"),
		"sparse 2.0":                  record("GNU.sparse.major=2") + record("GNU.sparse.minor=0") + record("GNU.sparse.realsize=100"),
		"xattr twice":                 record("SCHILY.xattr.user.x=y") + record("SCHILY.xattr.user.x=z"),
		"SCHILY and LIBARCHIVE":       record("SCHILY.xattr.user.x=y") + record("LIBARCHIVE.xattr.user.x=eg"),
		"binary and not UTF-8":        record("hdrcharset=BINARY") + record("path=\xff"),
		"not UTF-8":                   record("path=\xff"),
		"link and path":               record("linkpath=x") + record("path=p"),
		"size of a file that is less": record("size=3"),
	} {
		records[text] = encoded
	}
	for text, encoded := range records {
		x := tarMember("x", 'x', encoded)
		add(text, x, file, next)
		add(text+", global", tarMember("g", 'g', encoded), file, next)
		add(text+", of a link", x, link, next)
		add(text+", of a directory", x, tarMember("d/", '5', ""), next)
		add(text+", of a hard link", file, x, func() []byte {
			m := tarMember("h", '1', "")
			copy(m[157:], "f")
			mendTar(m)
			return m
		}(), next)
		add(text+", old", tarMember("x", 'X', encoded), file, next)
	}
	x, other := tarMember("x", 'x', record("path=p")), tarMember("x", 'x', record("mtime=5"))
	name, target := tarMember("././@LongLink", 'L', "long\x00"), tarMember("././@LongLink", 'K', "long\x00")
	global := tarMember("g", 'g', record("comment=x"))
	for text, blocks := range map[string][][]byte{
		"two extended headers": {x, other, file}, "one at the end": {file, x}, "one before a global one": {x, global, file}, "two global": {global, global, file}, "global at the end": {file, global},
		"long name": {name, file}, "long name twice": {name, tarMember("././@LongLink", 'L', "other\x00"), file}, "long name at the end": {file, name}, "long target of a link": {target, link}, "long target of a file": {target, file},
		"long name without zero": {tarMember("././@LongLink", 'L', "long"), file}, "long name with zeros within": {tarMember("././@LongLink", 'L', "lo\x00ng\x00"), file}, "empty long name": {tarMember("././@LongLink", 'L', "\x00"), file}, "no long name": {tarMember("././@LongLink", 'L', ""), file},
		"long name and path": {name, x, file}, "path and long name": {x, name, file}, "long name of a directory": {name, tarMember("d/", '5', "")}, "long name with slash of a file": {tarMember("././@LongLink", 'L', "long/\x00"), file},
		"a zero block between": {file, make([]byte, 512), next}, "two zero blocks between": {file, make([]byte, 1024), next}, "no entry": {}, "a directory twice": {tarMember("d/", '5', ""), tarMember("d/", '5', "")},
		"a file twice": {file, file}, "file and directory": {file, tarMember("f/", '5', "")}, "directory and file": {tarMember("f/", '5', ""), file}, "file below file": {file, tarMember("f/x", '0', "")}, "file below link": {link, tarMember("l/x", '0', "")},
		"a directory without slash": {tarMember("d", '5', "")}, "a file with slash": {tarMember("d/", '0', "")}, "a file with slash and content": {tarMember("d/", '0', "x")}, "an old file with slash": {tarMember("d/", 0, "")}, "a directory with content": {tarMember("d/", '5', "x"), next}, "a link with content": {tarMember("l", '2', "x"), next}, "contiguous": {tarMember("f", '7', "x")},
		"a label": {tarMember("label", 'V', ""), file}, "a GNU directory": {tarMember("d/", 'D', "Yf\x00\x00"), file}, "more of a file": {tarMember("f", 'M', "x"), next}, "an ACL": {tarMember("f", 'A', "x"), next}, "unknown": {tarMember("f", 'Q', "x"), next},
	} {
		add(text, blocks...)
	}
	slices.SortFunc(all, func(a, b input) int { return strings.Compare(a.name, b.name) })
	return all
}
