package testreaders

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/release/format/gpt"
)

const gptSectors = 128

// gptFormat is of disks of which one copy of the table may be damaged, as our reader and sfdisk take them.
func gptFormat(t *testing.T) format {
	sound := gptSound(t)
	return format{
		sound:   sound,
		mutants: func(longer int) []input { return gptMutants(sound, longer) },
		kept: []string{
			`sgdisk: MBR type at byte 450 is 0x02`,
			`sgdisk: MBR signature at byte 510 is 0xffff`,
		},
		ours: func(_ context.Context, file, _ string) ([]string, error) {
			table, err := readGPT(file)
			if err != nil {
				return nil, err
			}
			return partitions(table), nil
		},
		theirs: []tool{{name: "sfdisk", script: `sfdisk -J "$1" 2>/dev/null`, read: sfdisk}},
	}
}

// wholeGPTFormat is of disks without any damage, of which sgdisk must not complain.
func wholeGPTFormat(t *testing.T) format {
	f := gptFormat(t)
	f.ours = func(_ context.Context, file, _ string) ([]string, error) {
		table, err := readGPT(file)
		if err != nil {
			return nil, err
		}
		return nil, table.Damage()
	}
	f.theirs = []tool{{name: "sgdisk", script: `sgdisk -v "$1" | grep 'No problems found'`, read: func(string, string) []string { return nil }}}
	return f
}

func readGPT(file string) (*gpt.Table, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	return gpt.Read(in, info.Size())
}

func partitions(table *gpt.Table) (all []string) {
	for _, p := range table.Partitions() {
		all = append(all, fmt.Sprintf("%d %v %v %d+%d %q", p.Number, p.Type, p.ID, p.First, p.Last-p.First+1, p.Name))
	}
	return all
}

// sfdisk reads the JSON that sfdisk prints.
func sfdisk(_, said string) []string {
	var dump struct {
		Table struct {
			Label      string
			Partitions []struct {
				Node, Type, UUID, Name string
				Start, Size            uint64
			}
		} `json:"partitiontable"`
	}
	if err := json.Unmarshal([]byte(said), &dump); err != nil {
		return []string{err.Error()}
	}
	if dump.Table.Label != "gpt" {
		return []string{"a table of the kind " + dump.Table.Label}
	}
	var all []string
	for _, p := range dump.Table.Partitions {
		// A name of a file that ends in a digit has a p before the number.
		number := p.Node[strings.LastIndexByte(p.Node, 'p')+1:]
		all = append(all, fmt.Sprintf("%s %s %s %d+%d %q", filepath.Base(number), strings.ToLower(p.Type), strings.ToLower(p.UUID), p.Start, p.Size, p.Name))
	}
	return all
}

func gptSound(t *testing.T) []input {
	const table = `truncate -s 64K out
printf '%s\n' 'label: gpt' 'label-id: 00000000-0000-0000-0000-000000000001' 'first-lba: 34' \
	'start=40, size=8, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=11111111-2222-3333-4444-555555555501, name="EFI-SYSTEM"' \
	'start=48, size=8, type=5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6, uuid=11111111-2222-3333-4444-555555555502, name="USR-A", attrs="GUID:48,56"' \
	'start=64, size=16, type=5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6, uuid=11111111-2222-3333-4444-555555555503' | sfdisk -q out; `
	return []input{
		{"sfdisk", script(t, table)},
		{"sgdisk", script(t, `truncate -s 64K out; sgdisk -a 1 -U 00000000-0000-0000-0000-000000000001 -n 1:40:47 -t 1:ef00 -c 1:EFI-SYSTEM -u 1:11111111-2222-3333-4444-555555555501 -n 3:48:55 -u 3:11111111-2222-3333-4444-555555555502 out`)},
	}
}

// Fields of a header and of an entry (UEFI specification 2.10, tables 5.5 and 5.6).
var (
	gptHeader = []field{{"signature", 0, 8}, {"revision", 8, 4}, {"size", 12, 4}, {"sum", 16, 4}, {"reserved", 20, 4}, {"own sector", 24, 8}, {"other sector", 32, 8}, {"first usable", 40, 8}, {"last usable", 48, 8}, {"disk", 56, 8}, {"disk", 64, 8}, {"entries", 72, 8}, {"number of entries", 80, 4}, {"size of an entry", 84, 4}, {"sum of the entries", 88, 4}, {"behind the header", 92, 4}}
	gptEntry  = []field{{"type", 0, 8}, {"type", 8, 8}, {"identifier", 16, 8}, {"identifier", 24, 8}, {"first", 32, 8}, {"last", 40, 8}, {"attributes", 48, 8}, {"name", 56, 2}, {"name", 58, 2}, {"name", 60, 4}, {"last of the name", 126, 2}}
)

func gptMutants(sound []input, longer int) (all []input) {
	const primary, backup = 512, (gptSectors - 1) * 512
	for _, in := range sound {
		all = slices.Concat(all, followed(in), flipped(input{in.name, in.content}, 30*longer), parts(in, 446, 510, 512, 512+92, 1024, 1024+128, 1024+256, 34*512, 40*512, len(in.content)-33*512, len(in.content)-512, len(in.content)-420))
		all = append(all, numbers(in, nil, field{"MBR boot code", 0, 4}, field{"MBR signature", 510, 2}, field{"MBR boot flag", 446, 1}, field{"MBR type", 450, 1}, field{"MBR first", 454, 4}, field{"MBR length", 458, 4}, field{"MBR second", 466, 4})...)
		for _, header := range []int{primary, backup} {
			var fields []field
			for _, f := range gptHeader {
				fields = append(fields, field{f.name, header + f.at, f.length})
			}
			one := numbers(in, func(c []byte) { sumHeader(c, header) }, fields...)
			for i := range one {
				one[i].name += ", sum mended"
			}
			all = slices.Concat(all, one, numbers(in, nil, fields...))
		}
		// The same change in both copies, with sums that fit.
		for _, f := range gptHeader {
			if f.name == "sum" || f.name == "own sector" || f.name == "other sector" || f.name == "entries" || f.name == "sum of the entries" {
				continue
			}
			both := numbers(in, func(c []byte) {
				copy(c[backup+f.at:backup+f.at+f.length], c[primary+f.at:primary+f.at+f.length])
				sumHeader(c, primary)
				sumHeader(c, backup)
			}, field{f.name, primary + f.at, f.length})
			for i := range both {
				both[i].name += ", in both copies"
			}
			all = append(all, both...)
		}
		for entry := range 4 {
			for _, f := range gptEntry {
				both := numbers(in, sumEntries, field{f.name, 1024 + entry*128 + f.at, f.length})
				for i := range both {
					both[i].name += ", in both copies"
				}
				all = append(all, both...)
			}
			for other := range 4 {
				mutant := in.put(fmt.Sprintf("entry %d is a copy of %d, in both copies", other, entry), 1024+other*128, in.content[1024+entry*128:1024+entry*128+128])
				sumEntries(mutant.content)
				all = append(all, mutant)
			}
		}
	}
	return all
}

// sumHeader corrects the sum of a header.
func sumHeader(c []byte, at int) {
	copy(c[at+16:at+20], make([]byte, 4))
	length := binary.LittleEndian.Uint32(c[at+12:])
	if int64(length) > 512 {
		length = 92
	}
	binary.LittleEndian.PutUint32(c[at+16:], crc32.ChecksumIEEE(c[at:at+int(length)]))
}

// sumEntries copies the entries of the primary copy to the backup, and corrects all sums.
func sumEntries(c []byte) {
	const entries = 128 * 128
	end := len(c) - 512
	copy(c[end-entries:end], c[1024:1024+entries])
	for _, header := range []int{512, end} {
		binary.LittleEndian.PutUint32(c[header+88:], crc32.ChecksumIEEE(c[1024:1024+entries]))
		sumHeader(c, header)
	}
}
