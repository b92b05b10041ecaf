package elf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
)

// libraryDir is where the tool root, which is for the host's architecture, has its libraries.
const libraryDir = "usr/lib/x86_64-linux-gnu/"

func readFile(t *testing.T, path string) *File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := Read(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return got
}

// What the standard library finds by section headers is what we find by program headers.
func TestRealFiles(t *testing.T) {
	tools := toolroottest.Open(t)
	for _, name := range []string{"usr/bin/mksquashfs", "usr/bin/btrfs", libraryDir + "libc.so.6", libraryDir + "libz.so.1", libraryDir + "libblkid.so.1"} {
		raw, err := elf.Open(tools.Path(name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() }) //nolint:errcheck // only read
		want := File{Machine: elf.EM_X86_64, Class: elf.ELFCLASS64}
		if segment := raw.Section(".interp"); segment != nil {
			content, err := segment.Data()
			if err != nil {
				t.Fatal(err)
			}
			want.Interpreter = strings.TrimSuffix(string(content), "\x00")
		}
		want.Needed, _ = raw.ImportedLibraries()
		if soname, _ := raw.DynString(elf.DT_SONAME); len(soname) > 0 {
			want.Soname = soname[0]
		}
		needs, err := raw.DynamicVersionNeeds()
		if err != nil {
			t.Fatal(err)
		}
		for _, need := range needs {
			for _, version := range need.Needs {
				if version.Flags&elf.VER_FLG_WEAK == 0 {
					want.Wants = append(want.Wants, Version{need.Name, version.Dep})
				}
			}
		}
		definitions, err := raw.DynamicVersions()
		if err != nil {
			t.Fatal(err)
		}
		for _, definition := range definitions {
			if definition.Flags&elf.VER_FLG_BASE == 0 {
				want.Offers = append(want.Offers, definition.Name)
			}
		}
		if diff := cmp.Diff(&want, readFile(t, tools.Path(name))); diff != "" || len(want.Wants) == 0 {
			t.Errorf("%s: -standard library +got:\n%s", name, diff)
		}
	}
}

// Without section headers the loader finds its way all the same, and so do we.
func TestStrippedSectionHeaders(t *testing.T) {
	name := toolroottest.Open(t).Path("usr/bin/mksquashfs")
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	stripped := slices.Clone(content)
	copy(stripped[0x28:], make([]byte, 8)) // e_shoff
	copy(stripped[0x3c:], make([]byte, 4)) // e_shnum, e_shstrndx
	got, err := Read(bytes.NewReader(stripped))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(readFile(t, name), got); diff != "" {
		t.Error(diff)
	}
}

func TestRefuses(t *testing.T) {
	content, err := os.ReadFile(toolroottest.Open(t).Path("usr/bin/true"))
	if err != nil {
		t.Fatal(err)
	}
	for what, cut := range map[string]int{"nothing": 0, "half a header": 30, "no program headers": 64, "no dynamic section": 4096} {
		if got, err := Read(bytes.NewReader(content[:cut])); err == nil {
			t.Errorf("%s: read %+v", what, got)
		}
	}
}

// small returns a library of a few hundred bytes with a dynamic section, and with a string table that is longer by some.
func small(t testing.TB, longer int) []byte {
	const (
		headers   = 64 + 2*56
		dynamicAt = headers
		needAt    = dynamicAt + 10*16
		defAt     = needAt + 32
		stringsAt = defAt + 28
	)
	names := "\x00libc.so.6\x00libx.so.1\x00$ORIGIN/lib:/usr/lib/x\x00GLIBC_2.34\x00X_1\x00"
	names += strings.Repeat("\x00", longer)
	at := func(name string) uint64 { return uint64(strings.Index(names, name)) }
	length := uint64(stringsAt + len(names))
	var b bytes.Buffer
	write := func(values ...any) {
		for _, value := range values {
			if err := binary.Write(&b, binary.LittleEndian, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	header := elf.Header64{
		Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_AARCH64), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 2, Shentsize: 64,
	}
	copy(header.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	write(header,
		elf.Prog64{Type: uint32(elf.PT_LOAD), Filesz: length, Memsz: length},
		elf.Prog64{Type: uint32(elf.PT_DYNAMIC), Off: dynamicAt, Filesz: 10 * 16})
	for _, entry := range []elf.Dyn64{
		{Tag: int64(elf.DT_NEEDED), Val: at("libc.so.6")}, {Tag: int64(elf.DT_SONAME), Val: at("libx")},
		{Tag: int64(elf.DT_RUNPATH), Val: at("$ORIGIN")}, {Tag: int64(elf.DT_STRTAB), Val: stringsAt},
		{Tag: int64(elf.DT_STRSZ), Val: uint64(len(names))}, {Tag: int64(elf.DT_VERNEED), Val: needAt},
		{Tag: int64(elf.DT_VERNEEDNUM), Val: 1}, {Tag: int64(elf.DT_VERDEF), Val: defAt}, {Tag: int64(elf.DT_VERDEFNUM), Val: 1}, {},
	} {
		write(entry)
	}
	write([2]uint16{1, 1}, [3]uint32{uint32(at("libc")), 16, 0}, uint32(0), [2]uint16{0, 2}, [2]uint32{uint32(at("GLIBC")), 0}) // verneed
	write([4]uint16{1, 0, 1, 1}, [3]uint32{0, 20, 0}, [2]uint32{uint32(at("X_1")), 0})                                          // verdef
	b.WriteString(names)
	return b.Bytes()
}

func TestSmallFile(t *testing.T) {
	got, err := Read(bytes.NewReader(small(t, 0)))
	if err != nil {
		t.Fatal(err)
	}
	want := &File{
		Machine: elf.EM_AARCH64, Class: elf.ELFCLASS64, Soname: "libx.so.1", Needed: []string{"libc.so.6"},
		Runpath: []string{"$ORIGIN/lib", "/usr/lib/x"}, Wants: []Version{{"libc.so.6", "GLIBC_2.34"}}, Offers: []string{"X_1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Programs in Haskell export every function: pandoc has 42 MB of names.
func TestManyNames(t *testing.T) {
	if got, err := Read(bytes.NewReader(small(t, 42<<20))); err != nil || got.Soname != "libx.so.1" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := Read(bytes.NewReader(small(t, 65<<20))); err == nil {
		t.Errorf("%+v", got)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(small(f, 0))
	f.Add([]byte(elf.ELFMAG))
	f.Fuzz(func(t *testing.T, content []byte) {
		got, err := Read(bytes.NewReader(content))
		if err == nil && len(got.Wants)+len(got.Offers) > maxNames {
			t.Errorf("%d names", len(got.Wants)+len(got.Offers))
		}
	})
}
