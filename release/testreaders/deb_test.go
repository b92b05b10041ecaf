package testreaders

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

const debControl = `Package: hello
Version: 1.0-1
Architecture: amd64
Maintainer: Nobody <nobody@example.org>
Depends: libc6 (>= 2.3), other | another
Description: says hello
 And more.
 .
 Really.
`

const debScript = `mkdir -p tree/DEBIAN tree/usr/bin tree/usr/share/doc; cd tree
printf '%s' "$1" >DEBIAN/control; printf '#!/bin/sh\nexit 0\n' >DEBIAN/postinst; chmod 755 DEBIAN/postinst
printf hello >usr/bin/hello; chmod 755 usr/bin/hello; ln -s hello usr/bin/link; printf x >usr/share/doc/x; ln usr/share/doc/x usr/share/doc/y
find . -exec touch -h -d @1700000000 {} +; dpkg-deb --root-owner-group -Znone -b . ../out >/dev/null; `

func debFormat(t *testing.T) format {
	sound := []input{{"plain", script(t, debScript, debControl)}}
	for _, compression := range []string{"gzip", "xz", "zstd"} {
		sound = append(sound, input{compression, script(t, debScript+`dpkg-deb --root-owner-group -Z`+compression+` -b . ../out >/dev/null`, debControl)})
	}
	return format{
		sound:   sound,
		mutants: func(longer int) []input { return debMutants(sound, longer) },
		kept: []string{
			`members: control.tar: control: "# comment\n" at byte 15`,
			`members: control.tar: control: "Xx: \x00y\n" at byte 166`,
			`members: control.tar: control: cut at byte 177`,
			`plain: name at byte 10372 is "data.tar.xz"`,
			`members: control.tar: control: "-X: y\n" at byte 131`,
		},
		ours: ourDeb,
		theirs: []tool{{
			name: "dpkg-deb", script: `mkdir tree && dpkg-deb -R "$1" tree && dpkg-deb -f "$1" Package Version Architecture Maintainer Depends Description X >fields`,
			read: func(dir, _ string) []string {
				var script []byte
				if content, err := os.ReadFile(filepath.Join(dir, "tree/DEBIAN/postinst")); err == nil {
					script = content
				}
				fields, err := os.ReadFile(filepath.Join(dir, "fields"))
				if err != nil {
					return []string{err.Error()}
				}
				if err := os.RemoveAll(filepath.Join(dir, "tree/DEBIAN")); err != nil {
					return []string{err.Error()}
				}
				return slices.Concat(listing(filepath.Join(dir, "tree")), control(string(fields)), []string{fmt.Sprintf("postinst %q", script)})
			},
		}},
	}
}

// control reads fields as dpkg-deb writes them.
func control(text string) (all []string) {
	for part := range strings.SplitSeq(strings.NewReplacer("\n ", "\x00 ", "\n\t", "\x00\t").Replace(strings.TrimSuffix(text, "\n")), "\n") {
		name, value, _ := strings.Cut(strings.ReplaceAll(part, "\x00", "\n"), ":")
		all = append(all, fmt.Sprintf("%s: %q", strings.ToLower(name), strings.TrimSpace(value)))
	}
	slices.Sort(all)
	return all
}

// debFields are the fields that are compared. Others dpkg-deb prints as they are in the file.
var debFields = []string{"package", "version", "architecture", "maintainer", "depends", "description", "x"}

func ourDeb(_ context.Context, file, dir string) ([]string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	fields, err := debian.Unpack(file, debian.Identity{}, root, func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	script, err := debian.InstallScript(file, debian.AfterUnpacking)
	if err != nil {
		return nil, err
	}
	var all []string
	for name, value := range fields {
		if slices.Contains(debFields, name) {
			all = append(all, fmt.Sprintf("%s: %q", name, value))
		}
	}
	slices.Sort(all)
	return slices.Concat(listing(dir), all, []string{fmt.Sprintf("postinst %q", script)}), nil
}

// member is a part of an ar archive (ar(5)).
type member struct {
	name    string
	content []byte
}

func members(content []byte) (all []member) {
	for at := 8; at+60 <= len(content); {
		length, err := strconv.Atoi(strings.TrimRight(string(content[at+48:at+58]), " "))
		if err != nil {
			return all
		}
		all = append(all, member{strings.TrimRight(string(content[at:at+16]), " "), content[at+60 : at+60+length]})
		at += 60 + length + length%2
	}
	return all
}

func ar(all ...member) []byte {
	out := []byte("!<arch>\n")
	for _, m := range all {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 1700000000, 0, 0, "100644", len(m.content))
		out = append(out, m.content...)
		if len(m.content)%2 == 1 {
			out = append(out, '\n')
		}
	}
	return out
}

func debMutants(sound []input, longer int) (all []input) {
	for _, in := range sound {
		all = append(all, followed(in)...)
		all = append(all, flipped(in, 40*longer)...)
		places := []int{8}
		for at, i := 8, 0; at < len(in.content); i++ {
			m := members(in.content)[i]
			places = append(places, at, at+60)
			for _, f := range []field{{"time", at + 16, 12}, {"user", at + 28, 6}, {"group", at + 34, 6}, {"mode", at + 40, 8}, {"size", at + 48, 10}} {
				all = append(all, texts(in, ' ', nil, []field{f}, "", "0", "1", " 4", "4", "-1", "+4", "0x4", "4x", "4 4", "04", "9999999999", "4\x00", "4.0", "99")...)
			}
			for _, name := range []string{"", "/", "debian-binary", "debian-binary/", "control.tar", "control.tar/", "control.tar.gz", "control.tar.xz", "control.tar.zst", "control.tar.bz2", "control.tar.lzma", "data.tar", "data.tar.lzma", "data.tar.gz", "data.tar.xz", "_x", "x", "_data.tar", "#1/4", "//", "DATA.TAR", "data.tar ", " data.tar", "control.tar\x00"} {
				all = append(all, texts(in, ' ', nil, []field{{"name", at, 16}}, name)...)
			}
			all = append(all, in.put(fmt.Sprintf("end of header at byte %d", at+58), at+58, []byte("` ")), in.put(fmt.Sprintf("padding at byte %d", at+60+len(m.content)), at+59+len(m.content)+len(m.content)%2, []byte("x")))
			at += 60 + len(m.content) + len(m.content)%2
		}
		all = append(all, parts(in, places...)...)
	}
	m := members(sound[0].content)
	binary, meta, data := m[0], m[1], m[2]
	rest := func(name string, parts ...member) { all = append(all, input{"members: " + name, ar(parts...)}) }
	for _, version := range []string{"", "2.0", "2.0\n", "2.1\n", "2.10\n", "2.0\n\n", "2.0\nmore\n", "3.0\n", "1.0\n", "0.939000\n", "2\n", "2.\n", "2.x\n", " 2.0\n", "2.0 \n", "2.0\r\n", "02.0\n", "2.00\n", "2.0\x00\n", "2.99999999999999999999\n"} {
		rest(fmt.Sprintf("format %q", version), member{"debian-binary", []byte(version)}, meta, data)
	}
	rest("an extra one first", member{"_x", []byte("x")}, binary, meta, data)
	rest("an extra one second", binary, member{"_x", []byte("x")}, meta, data)
	rest("an extra one third", binary, meta, member{"_x", []byte("x")}, data)
	rest("an extra one last", binary, meta, data, member{"_x", []byte("x")})
	rest("an odd extra one", binary, meta, member{"_xyz", []byte("xyz")}, data, member{"_x", []byte("x")})
	rest("no control", binary, data)
	rest("no data", binary, meta)
	rest("two controls", binary, meta, meta, data)
	rest("two datas", binary, meta, data, data)
	rest("data first", binary, data, meta)
	rest("signed", binary, meta, data, member{"_gpgorigin", []byte("x")})
	// What the control member holds.
	inner := func(name string, tar []byte) {
		rest("control.tar: "+name, binary, member{"control.tar", tar}, data)
	}
	end := make([]byte, 1024)
	file := func(name, content string) []byte { return tarMember(name, '0', content) }
	for name, parts := range map[string][][]byte{
		"control": {file("./control", debControl)}, "without ./": {file("control", debControl)}, "absolute": {file("/control", debControl)}, "with ././": {file("././control", debControl)}, "in a directory": {file("./d/control", debControl)}, "in capitals": {file("./CONTROL", debControl)},
		"twice": {file("./control", debControl), file("./control", strings.Replace(debControl, "hello", "other", 1))}, "twice in two ways": {file("./control", debControl), file("control", strings.Replace(debControl, "hello", "other", 1))}, "twice in a third way": {file("./control", debControl), file("./././control", strings.Replace(debControl, "hello", "other", 1))},
		"a link": {file("./x", debControl), linkTo("./control", "x", '2')}, "a hard link": {file("./x", debControl), linkTo("./control", "./x", '1')}, "replaced by a link": {file("./control", debControl), file("./x", strings.Replace(debControl, "hello", "other", 1)), linkTo("./control", "x", '2')},
		"none": {file("./x", "x")}, "a directory": {tarMember("./control/", '5', "")}, "two scripts": {file("./control", debControl), file("./postinst", "#!/bin/sh\n"), file("./postinst", "#!/bin/false\n")}, "two scripts in two ways": {file("./control", debControl), file("./postinst", "#!/bin/sh\n"), file("postinst", "#!/bin/false\n")},
		"a linked script": {file("./control", debControl), file("./x", "#!/bin/sh\n"), linkTo("./postinst", "x", '2')}, "a hard-linked script": {file("./control", debControl), file("./x", "#!/bin/sh\n"), linkTo("./postinst", "./x", '1')}, "a name with ..": {file("./control", debControl), file("./x/../postinst", "#!/bin/sh\n")}, "a script in a directory": {file("./control", debControl), file("./postinst/x", "x")},
		"a device": {file("./control", debControl), tarMember("./x", '3', "")}, "an absolute script": {file("./control", debControl), file("/postinst", "#!/bin/sh\n")}, "a script below a link": {file("./control", debControl), linkTo("./d", ".", '2'), file("./d/postinst", "#!/bin/sh\n")}, "empty": {},
	} {
		inner(name, slices.Concat(slices.Concat(parts...), end))
	}
	inner("without an end", file("./control", debControl))
	for _, in := range slices.Concat(lines(input{"control", []byte(debControl)}, "\n", "# comment\n", " continued\n", "\tcontinued\n", " .\n", "Xx: y\n", "x-y: z\n", ": y\n", "Xx:\n", "X :y\n", "X Y: z\n", "x\n", "-X: y\n", "#X: y\n", " \n", "\r\n", "X: y\r\n", "Xx: \x00y\n", "Xx: \xff\n", "Package: hello\n", "PACKAGE: hello\n", "package: other\n", "Version: 2\n", "Architecture: all\n"),
		characters(input{"control", []byte(debControl)}, 7, "\n", "\n\n", " ", "\x00", "\r")) {
		inner(in.name, slices.Concat(file("./control", string(in.content)), end))
	}
	for _, version := range []string{"1", "1:1", "1:2:3", ":1", "a:1", "1-", "1-1-1", "-1", "a", "1_1", "1 1", "1~", "1+b1", "", "99999999999:1", "1:", "0:1", "1-1_1", "1.é", "+1", "1:-1", "1:a"} {
		inner(fmt.Sprintf("version %q", version), slices.Concat(file("./control", strings.Replace(debControl, "1.0-1", version, 1)), end))
	}
	for _, name := range []string{"", "a", "aa", "Aa", "1a", "-a", "a-", "a_b", "a b", "a.b", "a+b", "é", "a:b", "+a", "a/b", "..", "a\tb"} {
		inner(fmt.Sprintf("package %q", name), slices.Concat(file("./control", strings.Replace(debControl, "hello", name, 1)), end))
	}
	for _, arch := range []string{"", "all", "any", "AMD64", "linux-amd64", "x86", "a b", "-", "é"} {
		inner(fmt.Sprintf("architecture %q", arch), slices.Concat(file("./control", strings.Replace(debControl, "amd64", arch, 1)), end))
	}
	slices.SortFunc(all, func(a, b input) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	return all
}

func linkTo(name, target string, kind byte) []byte {
	m := tarMember(name, kind, "")
	copy(m[157:], target)
	mendTar(m)
	return m
}
