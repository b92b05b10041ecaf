package testreaders

import (
	"bytes"
	"context"
	stdelf "debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/check/elf"
)

// elfFormat is of a program and a library. Nothing with warnings counts as read.
func elfFormat(t *testing.T) format {
	sound := []input{
		{"program", script(t, `cp /usr/bin/true out; strip out`)},
		{"library", script(t, `cp /usr/lib/*/libdl.so.2 out; strip out`)},
	}
	return format{
		sound: sound,
		mutants: func(longer int) (all []input) {
			for _, in := range sound {
				all = slices.Concat(all, elfMutants(t, in, longer))
			}
			return all
		},
		ours: func(_ context.Context, file, _ string) ([]string, error) {
			in, err := os.Open(file)
			if err != nil {
				return nil, err
			}
			defer in.Close()
			f, err := elf.Read(in)
			if err != nil {
				return nil, err
			}
			if f.Class != stdelf.ELFCLASS64 || f.Machine != stdelf.EM_X86_64 && f.Machine != stdelf.EM_AARCH64 {
				return nil, errors.New("of another machine, so not looked at")
			}
			var all []string
			add := func(what string, values ...string) {
				for _, v := range values {
					if v != "" {
						all = append(all, what+" "+v)
					}
				}
			}
			add("loader", f.Interpreter)
			add("needs", f.Needed...)
			add("name", f.Soname)
			add("path", strings.Join(f.Runpath, ":"), strings.Join(f.Rpath, ":"))
			for _, w := range f.Wants {
				add("wants", w.Library+" "+w.Name)
			}
			add("offers", f.Offers...)
			slices.Sort(all)
			return all, nil
		},
		theirs: []tool{{
			name: "readelf", script: `readelf -WhldV "$1" >text 2>warnings && ! [ -s warnings ] && grep -a . text || { cat warnings; false; }`, read: readelf,
			excuse: map[string]string{
				`: (\.dynamic|PT_\w+ (type|offset|address|size)|program headers?|section headers?|names|section header size) at byte|random bytes|bytes \d+ to|cut at|follow`: "it finds versions and strings by section headers, which loaders and we do not look at",
			},
		}},
	}
}

var (
	elfLine    = regexp.MustCompile(`\[Requesting program interpreter: (.*)\]|\((NEEDED|SONAME|RUNPATH|RPATH)\) .*\[(.*)\]`)
	elfFile    = regexp.MustCompile(`Version: \d+  File: (\S+)  Cnt:`)
	elfWanted  = regexp.MustCompile(`^  0x\S+:\s+Name: (\S+)  Flags: (.*)  Version:`)
	elfOffered = regexp.MustCompile(`Rev: \d+  Flags: (.*)  Index: \d+  Cnt: \d+  Name: (\S+)`)
)

// readelf reads what readelf prints.
func readelf(dir, _ string) (all []string) {
	text, err := os.ReadFile(dir + "/text")
	if err != nil {
		return []string{err.Error()}
	}
	library := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if m := elfLine.FindStringSubmatch(line); m != nil {
			kind := map[string]string{"": "loader", "NEEDED": "needs", "SONAME": "name", "RUNPATH": "path", "RPATH": "path"}[m[2]]
			if value := m[1] + m[3]; value != "" {
				all = append(all, kind+" "+value)
			}
		} else if m := elfFile.FindStringSubmatch(line); m != nil {
			library = m[1]
		} else if m := elfWanted.FindStringSubmatch(line); m != nil && !strings.Contains(m[2], "WEAK") {
			all = append(all, "wants "+library+" "+m[1])
		} else if m := elfOffered.FindStringSubmatch(line); m != nil && !strings.Contains(m[1], "BASE") {
			all = append(all, "offers "+m[2])
		}
	}
	slices.Sort(all)
	return all
}

// elfMutants changes the file's header, the program headers that matter, the dynamic section and the tables of versions and names.
func elfMutants(t *testing.T, in input, longer int) (all []input) {
	f, err := stdelf.NewFile(bytes.NewReader(in.content))
	if err != nil {
		t.Fatal(err)
	}
	fields := []field{{"class", 4, 1}, {"data", 5, 1}, {"version", 6, 1}, {"system", 7, 1}, {"type", 16, 2}, {"machine", 18, 2}, {"version", 20, 4}, {"program headers", 32, 8}, {"section headers", 40, 8}, {"header size", 52, 2}, {"program header size", 54, 2}, {"program headers", 56, 2}, {"section header size", 58, 2}, {"section headers", 60, 2}, {"names", 62, 2}}
	for i, p := range f.Progs {
		at := int(binary.LittleEndian.Uint64(in.content[32:])) + 56*i
		if p.Type == stdelf.PT_INTERP || p.Type == stdelf.PT_DYNAMIC || p.Type == stdelf.PT_LOAD {
			fields = append(fields, field{fmt.Sprint(p.Type, " type"), at, 4}, field{fmt.Sprint(p.Type, " offset"), at + 8, 8}, field{fmt.Sprint(p.Type, " address"), at + 16, 8}, field{fmt.Sprint(p.Type, " size"), at + 32, 8})
		}
	}
	for _, name := range []string{".dynamic", ".gnu.version_r", ".gnu.version_d"} {
		if s := f.Section(name); s != nil {
			step := map[string]int{".dynamic": 8}[name]
			for at := 0; at < int(s.FileSize); at += max(step, 4) {
				fields = append(fields, field{name, int(s.Offset) + at, max(step, 4)})
			}
		}
	}
	all = slices.Concat(followed(in), flipped(in, 50*longer), numbers(in, nil, fields...), parts(in, 64, 64+56, int(f.Section(".dynamic").Offset), int(f.Section(".dynstr").Offset), len(in.content)-64))
	strings := f.Section(".dynstr")
	for at := 0; at < int(strings.FileSize); at += 9 {
		for _, c := range []byte{0, '\n', '/', 0xff, '$'} {
			all = append(all, in.put(fmt.Sprintf("byte %d of the names is %q", at, c), int(strings.Offset)+at, []byte{c}))
		}
	}
	return all
}
