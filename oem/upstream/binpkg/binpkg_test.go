package binpkg

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

const header = "ARCH: amd64\nPACKAGES: COUNT\nTIMESTAMP: 1\n\n"

func stanza(cpv string, lines ...string) string {
	return "CPV: " + cpv + "\nSIZE: 10\nSHA1: " + strings.Repeat("0", 40) + "\n" + strings.Join(append(lines, ""), "\n") + "\n"
}

// counted reads an index whose header says how many packages it has.
func counted(text string) io.Reader {
	return strings.NewReader(strings.Replace(text, "COUNT", fmt.Sprint(strings.Count(text, "CPV: ")), 1))
}

func indexOf(t *testing.T, stanzas ...string) *Index {
	t.Helper()
	index, err := ReadIndex(counted(header + strings.Join(stanzas, "")))
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestReadIndex(t *testing.T) {
	index := indexOf(t,
		stanza("app-emulation/open-vm-tools-12.4.5-r1", "SLOT: 0/1", "RDEPEND: >=dev-libs/glib-2.6:2= !dev-libs/bad || ( x/a x/b )"),
		stanza("x/a-1", "PATH: x/a-1-2.tbz2"),
	)
	tools := index.byName["app-emulation/open-vm-tools"][0]
	if tools.Version != "12.4.5-r1" || tools.Slot != "0" || tools.File != "app-emulation/open-vm-tools-12.4.5-r1.tbz2" || len(tools.needs) != 2 {
		t.Errorf("package is %+v", tools)
	}
	if file := index.byName["x/a"][0].File; file != "x/a-1-2.tbz2" {
		t.Errorf("file is %s", file)
	}
}

func TestReadIndexRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"CPV: x/a-1\n\n":                                               "the first stanza has no ARCH",
		header + "what\n":                                              `line 5: "what"; wanted KEY: value`,
		header + stanza("x/a"):                                         "wanted CATEGORY/NAME-VERSION",
		header + stanza("../a-1"):                                      "wanted CATEGORY/NAME-VERSION",
		header + "CPV: x/a-1\nSIZE: -1":                                "SIZE",
		header + stanza("x/a-1", "PATH: ../../etc/passwd"):             "not below the index",
		header + stanza("x/a-1", "RDEPEND: ssl? ( x/b )"):              "evaluated USE conditionals",
		header + stanza("x/a-1", "RDEPEND: ( x/b"):                     "unmatched (",
		header + stanza("x/a-1", "RDEPEND: x/b )"):                     "unmatched )",
		header + stanza("x/a-1", "RDEPEND: || x/b"):                    "wanted a ( after ||",
		header + stanza("x/a-1", "RDEPEND: >=x/b"):                     "wanted CATEGORY/NAME-VERSION",
		header + stanza("x/a-1", "RDEPEND: "+strings.Repeat("( ", 99)): "deeper than",
		header + stanza("x/a-1") + stanza("x/a-1"):                     "listed twice",
		header + stanza("x/a-1.0") + stanza("x/a-1.0-r0"):              "listed twice",
		header + stanza("x/a-1", "SIZE: 11"):                           "line 8: field SIZE is in the stanza twice",
		header + stanza("x/a-1", "SLOT:0"):                             "wanted a space before the value",
		header + stanza("x/a-1", "slot: 0"):                            "wanted a name in capital letters",
		header + stanza("x/a-1", ": 0"):                                "wanted a name in capital letters",
		header + stanza("x/a-1", "DESC: \x1b[2J"):                      "has control characters",
		header + stanza("x/a-1", "SLOT: a b"):                          "SLOT is",
		header + stanza("x/a-1", "MD5: 0"):                             "MD5 is",
		header + stanza("x/a-1", "PATH: x/b-1.tbz2"):                   "is not of this package",
		header + stanza("x/a-1", "PATH: y/a-1.tbz2"):                   "is not of this package",
		header + "CPV: x/a-1\nSIZE: +1":                                "SIZE",
		header + "CPV: x/a-1\nSIZE: 1\nSHA1: 00":                       "SHA1 is",
		"":                                                             "is empty",
		"ARCH: amd64\n\n":                                              "PACKAGES is",
		"ARCH: amd64\nPACKAGES: 2\n\n" + stanza("x/a-1"):               "has 1 packages, field PACKAGES of its header says 2",
		header + strings.Repeat("x", 2<<20):                            "token too long",
	} {
		if _, err := ReadIndex(counted(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.200q: error is %v", text, err)
		}
	}
}

func TestClosure(t *testing.T) {
	index := indexOf(t,
		stanza("app/tool-1", "RDEPEND: lib/one:2= || ( lib/gone lib/two lib/three ) >=lib/base-2", "PDEPEND: app/data"),
		stanza("lib/one-1.5", "SLOT: 1"), stanza("lib/one-2.5-r3", "SLOT: 2/7", "RDEPEND: app/tool"), stanza("lib/one-2.4", "SLOT: 2"),
		stanza("lib/two-1", "RDEPEND: lib/gone"), stanza("lib/three-1"),
		stanza("lib/base-3"), stanza("app/data-1", "RDEPEND: app/huge"), stanza("app/huge-1", "RDEPEND: lib/gone"),
		stanza("lib/base-1"),
	)
	closure := func(want, have, without string) string {
		installed, err := ReadInstalled([]byte(have))
		if err != nil {
			return err.Error()
		}
		found, err := index.Closure(Ask{strings.Fields(want), installed, strings.Fields(without)})
		if err != nil {
			return err.Error()
		}
		var names []string
		for _, p := range found {
			names = append(names, p.CPN()+"-"+p.Version)
		}
		return strings.Join(names, " ")
	}
	for _, test := range []struct{ want, have, without, result string }{
		{"app/tool", "", "app/huge", "app/data-1 app/tool-1 lib/base-3 lib/one-2.5-r3 lib/three-1"},
		{"app/tool", "lib/base-2-r1::portage-stable\nlib/gone-9::coreos\n", "app/huge", "app/data-1 app/tool-1 lib/one-2.5-r3"},
		{"app/tool", "lib/base-1::x\n", "app/data", "app/tool-1 lib/base-3 lib/one-2.5-r3 lib/three-1"},
		{"lib/three", "lib/three-1::x", "", ""},
		{"app/tool", "", "", "app/tool -> app/data -> app/huge -> lib/gone: not in the index (available versions: )"},
		{"lib/three", "", "lib/none", "without: lists lib/none, which nothing needs; remove it"},
		{"lib/three", "nonsense", "", `packages of the base: "nonsense" is not a package; wanted CATEGORY/NAME-VERSION`},
	} {
		if diff := cmp.Diff(test.result, closure(test.want, test.have, test.without)); diff != "" {
			t.Errorf("%+v: %s", test, diff)
		}
	}
}

// TestVersions has examples of the rules in PMS 3.3, in ascending order.
func TestVersions(t *testing.T) {
	ordered := strings.Fields(`0.9 1_alpha 1_alpha1 1_beta 1_pre9 1_rc1 1_rc1-r1 1 1-r1 1-r2 1_p 1_p1_alpha 1_p1 1_p2 1a 1b 1.001 1.01 1.02 1.1 1.9 1.10 1.10.0 2 10 20240101
		99999999999999999999999999999999999999`)
	for i, a := range ordered {
		for j, b := range ordered {
			if got := CompareVersions(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s and %s: %d", a, b, got)
			}
		}
	}
	if CompareVersions("1.0-r0", "1.0") != 0 || CompareVersions("01", "1") != 0 || CompareVersions("1.10", "1.1") == 0 {
		t.Error("equal versions are not")
	}
}

func TestAtoms(t *testing.T) {
	for text, versions := range map[string][2]string{ // what it allows, what it does not
		"x/a":            {"1 2", ""},
		"=x/a-1.2":       {"1.2", "1.2-r1 1.20"},
		"~x/a-1.2":       {"1.2 1.2-r1", "1.2.1"},
		"=x/a-1.2*":      {"1.2 1.2.9 1.2-r1 1.2_p1 1.2b", "1.20 1.3"},
		"<x/a-2[ssl,-z]": {"1 2_rc1", "2"},
		">=x/a-2:0/3=":   {"2 2-r1", "1.9"},
		">x/a-2:*":       {"2-r1", "2"},
		"x/a:1":          {"", "1 2"},
		"<=x/a-2:=":      {"2", "2-r1"},
	} {
		a, err := parseAtom(text)
		if err != nil {
			t.Error(err)
			continue
		}
		for i, list := range versions {
			for _, version := range strings.Fields(list) {
				if a.allows(&Package{Category: "x", Name: "a", Version: version, Slot: "0"}) != (i == 0) {
					t.Errorf("%s and %s", text, version)
				}
			}
		}
	}
}

// packageOf writes an xpak package: a tar archive compressed with bzip2, and a segment with one entry.
func packageOf(t testing.TB, names ...string) []byte {
	t.Helper()
	needs.Programs(t, "bzip2")
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: 1, Uid: os.Getuid(), Gid: os.Getgid()}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	packed, err := run.Output(t.Context(), run.Cmd{Program: "bzip2", Args: []string{"-c"}, Env: run.HostEnv("PATH"), Stdin: &plain})
	if err != nil {
		t.Fatal(err)
	}
	return append(packed, identity()...)
}

// identity is a segment of tool-1.
func identity() []byte {
	return xpak("CATEGORY", "app\n", "CHOST", "x86_64-cros-linux-gnu\n", "PF", "tool-1\n")
}

// xpak makes a segment of names and values.
func xpak(entries ...string) []byte {
	u32 := func(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
	var index, data []byte
	for i := 0; i < len(entries); i += 2 {
		index = bytes.Join([][]byte{index, u32(len(entries[i])), []byte(entries[i]), u32(len(data)), u32(len(entries[i+1]))}, nil)
		data = append(data, entries[i+1]...)
	}
	segment := bytes.Join([][]byte{[]byte("XPAKPACK"), u32(len(index)), u32(len(data)), index, data, []byte("XPAKSTOP")}, nil)
	return bytes.Join([][]byte{segment, u32(len(segment)), []byte("STOP")}, nil)
}

func unpacked(t *testing.T, content []byte) ([]string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tool-1.tbz2")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = Unpack(path, Identity{"app/tool", "1", arch.AMD64}, root, func(path string) bool { return strings.HasPrefix(path, "usr/") })
	found, globErr := filepath.Glob(root.Name() + "/*/*/*")
	if globErr != nil {
		t.Fatal(globErr)
	}
	for i := range found {
		found[i] = strings.TrimPrefix(found[i], root.Name())
	}
	return found, err
}

func TestUnpack(t *testing.T) {
	found, err := unpacked(t, packageOf(t, "./usr/bin/tool", "./etc/tool/conf"))
	if diff := cmp.Diff([]string{"/usr/bin/tool"}, found); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	good := packageOf(t, "./usr/bin/tool")
	segment := len(identity())
	with := func(segment []byte) []byte { return append(bytes.Clone(good[:len(good)-len(identity())]), segment...) }
	replaced := func(at int, with string) []byte {
		return append(append(bytes.Clone(good[:at]), with...), good[at+len(with):]...)
	}
	for name, test := range map[string]struct {
		content []byte
		says    string
	}{
		"empty":             {nil, "not a package, or truncated"},
		"cut":               {good[:len(good)-9], "not a package, or truncated"},
		"no segment":        {good[:len(good)-segment], "not a package, or truncated"},
		"other start":       {replaced(len(good)-segment, "YPAKPACK"), "is damaged"},
		"other end":         {replaced(len(good)-16, "XPAKSTOQ"), "is damaged"},
		"index too long":    {replaced(len(good)-segment+8, "\x00\x00\x01\x00"), "is damaged"},
		"segment too long":  {replaced(len(good)-8, "\x7f\xff\xff\xff"), "its xpak segment has"},
		"segment too short": {replaced(len(good)-8, "\x00\x00\x00\x01"), "its xpak segment has 1 bytes"},
		"altered archive":   {replaced(20, "\x00\x00\x00\x00"), "tool-1.tbz2: "},
		"archive cut":       {good[100:], "tool-1.tbz2"},
		"another package":   {with(xpak("CATEGORY", "app\n", "CHOST", "x86_64-x\n", "PF", "other-1\n")), "tool-1.tbz2: xpak entry PF: other-1; wanted tool-1"},
		"another category":  {with(xpak("CATEGORY", "sys\n", "CHOST", "x86_64-x\n", "PF", "tool-1\n")), "xpak entry CATEGORY: sys; wanted app"},
		"another machine":   {with(xpak("CATEGORY", "app\n", "CHOST", "aarch64-x\n", "PF", "tool-1\n")), "xpak entry CHOST: aarch64; wanted x86_64"},
		"no identity":       {with(xpak("SLOT", "0\n")), `xpak entry CATEGORY: ""; wanted one line`},
		"no line":           {with(xpak("CATEGORY", "app")), `xpak entry CATEGORY: "app"; wanted one line`},
		"no entries":        {with(xpak()), `xpak entry CATEGORY: ""`},
		"entry twice":       {with(xpak("PF", "a", "PF", "b")), "xpak entry PF: is there twice"},
		"entry of no name":  {with(xpak("", "a")), `xpak entry "": wanted the name`},
		"entry outside":     {with(xpak("../x", "a")), `xpak entry "../x": wanted the name`},
		"entry elsewhere":   {with(bytes.Replace(xpak("A", "ab", "B", "c"), []byte("B\x00\x00\x00\x02"), []byte("B\x00\x00\x00\x01"), 1)), "xpak entry B: is at bytes 1 to 2 of 3"},
		"entry too long":    {with(bytes.Replace(xpak("A", "ab"), []byte("A\x00\x00\x00\x00\x00\x00\x00\x02"), []byte("A\x00\x00\x00\x00\x00\x00\x00\x03"), 1)), "xpak entry A: is at bytes 0 to 3 of 2"},
		"bytes of no entry": {with(bytes.Replace(xpak("A", "ab"), []byte("A\x00\x00\x00\x00\x00\x00\x00\x02"), []byte("A\x00\x00\x00\x00\x00\x00\x00\x01"), 1)), "1 bytes belong to no entry"},
		"name too long":     {with(bytes.Replace(xpak("A", "ab"), []byte("\x00\x00\x00\x01A"), []byte("\x00\x00\x00\x09A"), 1)), "an entry is longer than the index"},
		"dot dot":           {packageOf(t, "./usr/../../x"), `tool-1.tbz2: entry "./usr/../../x": the name has ".."`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := unpacked(t, test.content); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(header + stanza("x/a-1", "RDEPEND: || ( x/a >=x/b-1:2=[ssl] ) !x/c"))
	f.Fuzz(func(_ *testing.T, text string) {
		index, err := ReadIndex(counted(text))
		if err != nil {
			return
		}
		for name := range index.byName {
			_, _ = index.Closure(Ask{Want: []string{name}})
		}
	})
}

func FuzzXpak(f *testing.F) {
	f.Add(append([]byte("archive"), identity()...))
	f.Fuzz(func(t *testing.T, content []byte) {
		if start, entries, err := readXpak(bytes.NewReader(content), int64(len(content))); err == nil {
			if start < 0 || start > int64(len(content)) {
				t.Error(start)
			}
			_ = Identity{}.check(entries)
		}
	})
}

func FuzzVersions(f *testing.F) {
	f.Add("1.2_rc3-r4", "1.2")
	f.Fuzz(func(t *testing.T, a, b string) {
		if x, y := CompareVersions(a, b), CompareVersions(b, a); (x < 0) != (y > 0) || (x == 0) != (y == 0) {
			t.Error(fmt.Sprintf("%q %q", a, b), x, y)
		}
	})
}
