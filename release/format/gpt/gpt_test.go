package gpt_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/gpt"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// flatcar returns Flatcar's slots and some other partitions, all of the same length in sectors.
func flatcar(first, length uint64) []gpt.Partition {
	all := []gpt.Partition{
		{Number: 1, Type: gpt.MustGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), ID: gpt.MustGUID("11111111-2222-3333-4444-555555555501"), Name: "EFI-SYSTEM"},
		{Number: 3, Type: gpt.MustGUID(disks.UsrType), ID: gpt.MustGUID(disks.UsrAUUID), Attributes: 0x0101000000000000, Name: "USR-A"},
		{Number: 4, Type: gpt.MustGUID(disks.UsrType), ID: gpt.MustGUID(disks.UsrBUUID), Name: "USR-B"},
		{Number: 9, Type: gpt.MustGUID(disks.DataType), ID: gpt.MustGUID("11111111-2222-3333-4444-555555555509"), Name: "ROOT"},
	}
	for i := range all {
		all[i].First = first + uint64(i)*length
		all[i].Last = all[i].First + length - 1
	}
	return all
}

var flatcarDisk = gpt.MustGUID("00000000-0000-0000-0000-000000000001")

const sectors = 128

// newDisk returns a disk with the table that New makes.
func newDisk(t testing.TB) memory {
	t.Helper()
	table, err := gpt.New(flatcarDisk, sectors, flatcar(40, 10))
	check(t, err)
	disk := make(memory, sectors*gpt.SectorSize)
	copy(disk, table.ProtectiveMBR())
	check(t, table.Write(disk))
	return disk
}

// TestReadSfdisk reads what sfdisk wrote, and sgdisk and sfdisk accept what we change.
func TestReadSfdisk(t *testing.T) {
	tools := toolroottest.Judges(t)
	path := filepath.Join(t.TempDir(), "disk")
	var partitions []vm.Partition
	for _, p := range flatcar(2048, 2048) {
		v := vm.Partition{Number: p.Number, Name: p.Name, Type: p.Type.String(), UUID: p.ID.String(), Size: size.MiB}
		for bit := range 64 {
			if p.Attributes>>bit&1 == 1 {
				v.Attributes = append(v.Attributes, bit)
			}
		}
		partitions = append(partitions, v)
	}
	check(t, vm.MakeDisk(t.Context(), tools, path, partitions))
	disk := readFile(t, path)
	table, err := gpt.Read(disk, int64(len(disk)))
	check(t, err)
	check(t, table.Damage())
	if diff := cmp.Diff(flatcar(2048, 2048), table.Partitions()); diff != "" {
		t.Errorf("partitions (-want +got):\n%s", diff)
	}
	if table.Disk() != flatcarDisk {
		t.Errorf("disk is %v; wanted %v", table.Disk(), flatcarDisk)
	}
	again := slices.Clone(disk)
	check(t, table.Write(again))
	if !bytes.Equal(again, disk) {
		t.Error("an unchanged table gets other bytes")
	}
	check(t, table.WithAttributes(4, 0x0012000000000000).Write(disk))
	check(t, os.WriteFile(path, disk, 0o600))
	judge(t, tools, path)
	out := runTool(t, tools, path, "sfdisk", "--part-attrs", path, "4")
	if got := strings.TrimSpace(out); got != "GUID:49,52" {
		t.Errorf("sfdisk says that partition 4 has %q; wanted GUID:49,52", got)
	}
}

// TestNew lets sgdisk and sfdisk judge a table that we made.
func TestNew(t *testing.T) {
	tools := toolroottest.Judges(t)
	path := filepath.Join(t.TempDir(), "disk")
	partitions := flatcar(2048, 2048)
	partitions[3].Name = "ROÖT 😀"
	table, err := gpt.New(flatcarDisk, 12288, partitions)
	check(t, err)
	disk := make(memory, 12288*gpt.SectorSize)
	copy(disk, table.ProtectiveMBR())
	check(t, table.Write(disk))
	check(t, os.WriteFile(path, disk, 0o600))
	judge(t, tools, path)
	out := runTool(t, tools, path, "sfdisk", "--dump", path)
	partitions[3].Name = `RO\xc3\x96T \xf0\x9f\x98\x80` // in UTF-8, as sfdisk prints it where the locale has no such letters
	for _, p := range partitions {
		line := fmt.Sprintf("%s%d : start=%12d, size=%12d, type=%s, uuid=%s, name=\"%s\"", path, p.Number, p.First, p.Last-p.First+1,
			strings.ToUpper(p.Type.String()), strings.ToUpper(p.ID.String()), p.Name)
		if !strings.Contains(out, line) {
			t.Errorf("sfdisk does not say\n%s\nbut\n%s", line, out)
		}
	}
}

// TestRepair flips bytes of either copy, of headers all: the other one serves, and writing gives the old bytes back.
func TestRepair(t *testing.T) {
	sound := newDisk(t)
	const entries = 128 * 128
	for name, part := range map[string]struct{ from, length, step int }{
		"primary header":  {gpt.SectorSize, 92, 1},
		"primary entries": {2 * gpt.SectorSize, entries, 37},
		"backup entries":  {(sectors-1)*gpt.SectorSize - entries, entries, 37},
		"backup header":   {(sectors - 1) * gpt.SectorSize, 92, 1},
	} {
		for i := 0; i < part.length; i += part.step {
			disk := slices.Clone(sound)
			disk[part.from+i] ^= 0x10
			table, err := gpt.Read(disk, int64(len(disk)))
			if err != nil {
				t.Fatalf("%s, byte %d: %v", name, i, err)
			}
			which, _, _ := strings.Cut(name, " ")
			if table.Damage() == nil || !strings.Contains(table.Damage().Error(), which) {
				t.Fatalf("%s, byte %d: damage is %v", name, i, table.Damage())
			}
			check(t, table.Write(disk))
			if !bytes.Equal(disk, sound) {
				t.Fatalf("%s, byte %d: is not repaired", name, i)
			}
		}
	}
}

// TestNoWayBack damages both copies.
func TestNoWayBack(t *testing.T) {
	disk := newDisk(t)
	disk[gpt.SectorSize+56] ^= 1
	disk[(sectors-1)*gpt.SectorSize+56] ^= 1
	_, err := gpt.Read(disk, int64(len(disk)))
	for _, want := range []string{"neither copy", "primary: byte 528: checksum of the header", "backup: byte 65040: checksum of the header"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; wanted %s", err, want)
		}
	}
}

// TestCopiesDiffer is what a power cut between the two copies leaves.
func TestCopiesDiffer(t *testing.T) {
	disk := newDisk(t)
	table, err := gpt.Read(disk, int64(len(disk)))
	check(t, err)
	check(t, table.WithAttributes(3, 0).Write(&failing{memory: disk, writes: 2}))
	table, err = gpt.Read(disk, int64(len(disk)))
	check(t, err)
	if table.Damage() == nil || table.Partitions()[1].Attributes != 0x0101000000000000 {
		t.Errorf("damage %v, attributes %#x; wanted a difference and the primary table's", table.Damage(), table.Partitions()[1].Attributes)
	}
	check(t, table.Write(disk))
	if !bytes.Equal(disk, newDisk(t)) {
		t.Error("is not repaired")
	}
}

// TestPowerCut stops after every number of bytes: there is always the old table or the new one.
func TestPowerCut(t *testing.T) {
	for _, damaged := range []int{-1, gpt.SectorSize + 20, (sectors-1)*gpt.SectorSize + 20} {
		sound := newDisk(t)
		if damaged >= 0 {
			sound[damaged] ^= 1
		}
		table, err := gpt.Read(sound, int64(len(sound)))
		check(t, err)
		const total = 2 * (128*128 + gpt.SectorSize)
		for cut := 0; cut <= total; cut += 61 {
			disk := slices.Clone(sound)
			err := table.WithAttributes(4, 0x0012000000000000).Write(&failing{memory: disk, writes: -1, bytes: cut})
			if err == nil && cut < total {
				t.Fatal("a failed write is not told")
			}
			after, err := gpt.Read(disk, int64(len(disk)))
			if err != nil {
				t.Fatalf("after %d B: %v", cut, err)
			}
			if got := after.Partitions()[2].Attributes; got != 0 && got != 0x0012000000000000 {
				t.Fatalf("after %d B: attributes are %#x", cut, got)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	at := func(offset int) int { return gpt.SectorSize + offset }
	u32 := binary.LittleEndian.PutUint32
	u64 := binary.LittleEndian.PutUint64
	for name, test := range map[string]struct {
		change func(d memory)
		want   string
	}{
		"no table":          {func(d memory) { d[at(0)] = 0 }, `byte 512: signature is "\x00FI PART"; wanted "EFI PART"`},
		"sectors of 4096 B": {func(d memory) { copy(d[4096:], d[512:1024]); clear(d[512:1024]) }, "the table is for sectors of 4096 B; wanted 512 B"},
		"header size":       {func(d memory) { u32(d[at(12):], 91) }, "byte 524: size of the header is 91 B"},
		"large header":      {func(d memory) { u32(d[at(12):], 513) }, "byte 524: size of the header is 513 B"},
		"revision":          {func(d memory) { u32(d[at(8):], 1) }, "byte 520: revision is 1; wanted 65536"},
		"reserved field":    {func(d memory) { d[at(20)] = 1 }, "byte 532: reserved field is 1; wanted 0"},
		"rest of sector":    {func(d memory) { d[at(92)] = 1 }, "byte 604: rest of the sector is in use; wanted zeros"},
		"no disk":           {func(d memory) { clear(d[at(56):at(72)]) }, "byte 568: identifier of the disk is"},
		"no identifier":     {func(d memory) { clear(d[1024+16 : 1024+32]) }, "entry 1 (byte 16 of it): has no identifier"},
		"own sector":        {func(d memory) { u64(d[at(24):], 2) }, "byte 536: own sector is 2; wanted 1"},
		"other sector":      {func(d memory) { u64(d[at(32):], sectors) }, "byte 544: sector of the other copy is 128"},
		"other in use":      {func(d memory) { u64(d[at(32):], 94+32) }, "byte 544: sector of the other copy is 126"},
		"usable":            {func(d memory) { u64(d[at(48):], 1<<63) }, "byte 560: last usable sector is 9223372036854775808"},
		"entries in use":    {func(d memory) { u64(d[at(72):], 34) }, "byte 584: first sector of the entries is 34"},
		"entries far away":  {func(d memory) { u64(d[at(72):], 1<<64-1) }, "byte 584: first sector of the entries is 18446744073709551615"},
		"no entries":        {func(d memory) { u32(d[at(80):], 0) }, "byte 592: number of entries is 0"},
		"too many":          {func(d memory) { u32(d[at(80):], 1<<32-4) }, "byte 592: number of entries is 4294967292"},
		"entry size":        {func(d memory) { u32(d[at(84):], 256) }, "byte 596: size of an entry in bytes is 256; wanted 128"},
		"outside":           {func(d memory) { u64(d[1024+32:], 33) }, "entry 1 (bytes 32 and 40 of it): sectors 33 to 49; wanted some of 34 to 94"},
		"turned around":     {func(d memory) { u64(d[1024+40:], 39) }, "entry 1 (bytes 32 and 40 of it): sectors 40 to 39"},
		"overlap":           {func(d memory) { u64(d[1024+2*128+32:], 49) }, "entry 3 (byte 32 of it): begins in sector 49, inside of entry 1"},
		"twice the same":    {func(d memory) { copy(d[1024+3*128+16:], d[1024+2*128+16:][:16]) }, "entry 4 (byte 16 of it): duplicate identifier 7130c94a-213a-4e5a-8e26-6cce9662f132, also of entry 3"},
	} {
		t.Run(name, func(t *testing.T) {
			disk := newDisk(t)
			test.change(disk)
			sum(disk)
			clear(disk[(sectors-1)*gpt.SectorSize:]) // no help from the backup
			_, err := gpt.Read(disk, int64(len(disk)))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got the error %v\nwanted one with   %s", err, test.want)
			}
		})
	}
	for _, length := range []int{0, 511, 2048, 20000} {
		disk := newDisk(t)[:length]
		if _, err := gpt.Read(disk, int64(length)); err == nil {
			t.Errorf("a disk of %d B is accepted", length)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	p := func(change func(*gpt.Partition)) []gpt.Partition {
		all := flatcar(40, 10)
		change(&all[0])
		return all
	}
	for want, partitions := range map[string][]gpt.Partition{
		"partition 0 of type":                 p(func(p *gpt.Partition) { p.Number = 0 }),
		"partition 129 of type":               p(func(p *gpt.Partition) { p.Number = 129 }),
		"of type 00000000":                    p(func(p *gpt.Partition) { p.Type = gpt.GUID{} }),
		"two partitions have the same number": p(func(p *gpt.Partition) { p.Number = 3 }),
		"wanted at most 36 characters":        p(func(p *gpt.Partition) { p.Name = strings.Repeat("x", 37) }),
		"sectors 40 to 127; wanted some of":   p(func(p *gpt.Partition) { p.Last = sectors - 1 }),
	} {
		if _, err := gpt.New(flatcarDisk, sectors, partitions); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got the error %v\nwanted one with   %s", err, want)
		}
	}
	if _, err := gpt.New(flatcarDisk, 67, nil); err == nil {
		t.Error("a disk without room is accepted")
	}
}

func TestParseGUID(t *testing.T) {
	id, err := gpt.ParseGUID("C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
	if err != nil || id.String() != "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" {
		t.Errorf("got %v, %v", id, err)
	}
	for _, text := range []string{"", "c12a7328f81f11d2ba4b00a0c93ec93b", "c12a7328-f81f-11d2-ba4b-00a0c93ec93", "c12a7328-f81f-11d2-ba4b-00a0c93ec93bb", "c12a7328-f81f-11d2-ba4b-00a0c93ec9-b", "x12a7328-f81f-11d2-ba4b-00a0c93ec93b"} {
		if id, err := gpt.ParseGUID(text); err == nil {
			t.Errorf("%q is read as %v", text, id)
		}
	}
}

// FuzzRead changes headers and entries behind right checksums. What is accepted must survive writing, and
// writing must not touch what is between the two copies.
func FuzzRead(f *testing.F) {
	f.Add(uint16(gpt.SectorSize+24), []byte{1}, false)
	f.Add(uint16(gpt.SectorSize+72), []byte{255, 255, 255, 255, 255, 255, 255, 255}, true)
	f.Add(uint16(1024+32), []byte{0, 9}, false)
	f.Add(uint16(0), bytes.Repeat([]byte{0x41}, 1500), true)
	sound := newDisk(f)
	f.Fuzz(func(t *testing.T, at uint16, change []byte, noBackup bool) {
		disk := slices.Clone(sound)
		copy(disk[at:], change)
		sum(disk)
		if noBackup {
			clear(disk[(sectors-1)*gpt.SectorSize:])
		}
		table, err := gpt.Read(disk, int64(len(disk)))
		if err != nil {
			return
		}
		written := slices.Clone(disk)
		check(t, table.Write(written))
		again, err := gpt.Read(written, int64(len(written)))
		check(t, err)
		check(t, again.Damage())
		if diff := cmp.Diff(table.Partitions(), again.Partitions()); diff != "" {
			t.Errorf("partitions after writing (-want +got):\n%s", diff)
		}
		for _, p := range table.Partitions() {
			if !bytes.Equal(disk[p.Offset():][:p.Size()], written[p.Offset():][:p.Size()]) {
				t.Errorf("partition %d was written to", p.Number)
			}
		}
	})
}

// sum makes the checksums of the primary copy right, as far as the header makes sense.
func sum(d memory) {
	header := d[gpt.SectorSize:][:gpt.SectorSize]
	from, length := binary.LittleEndian.Uint64(header[72:])*gpt.SectorSize, uint64(binary.LittleEndian.Uint32(header[80:]))*128
	if from < uint64(len(d)) && length < uint64(len(d))-from {
		binary.LittleEndian.PutUint32(header[88:], crc32.ChecksumIEEE(d[from:from+length]))
	}
	if size := binary.LittleEndian.Uint32(header[12:]); size <= gpt.SectorSize {
		clear(header[16:20])
		binary.LittleEndian.PutUint32(header[16:], crc32.ChecksumIEEE(header[:size]))
	}
}

// memory is a disk without a file.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error)  { return bytes.NewReader(m).ReadAt(p, off) }
func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }
func (m memory) Sync() error                              { return nil }

// failing is a disk that loses its power after a number of writes, or of bytes.
type failing struct {
	memory
	writes int // without limit when negative
	bytes  int
}

func (f *failing) WriteAt(p []byte, off int64) (int, error) {
	if f.writes >= 0 {
		if f.writes == 0 {
			return len(p), nil // lost in the cache
		}
		f.writes--
		return f.memory.WriteAt(p, off)
	}
	n, _ := f.memory.WriteAt(p[:min(len(p), f.bytes)], off)
	f.bytes -= n
	if n < len(p) {
		return n, errors.New("power cut")
	}
	return n, nil
}

// judge lets sgdisk and sfdisk look at a disk.
func judge(t *testing.T, tools *toolroot.Root, path string) {
	t.Helper()
	if out := runTool(t, tools, path, "sgdisk", "--verify", path); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
	if out := runTool(t, tools, path, "sfdisk", "--verify", path); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk: %s", out)
	}
}

func runTool(t *testing.T, tools *toolroot.Root, path, program string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	check(t, tools.Run(t.Context(), toolroot.Cmd{Program: program, Args: args, Read: []string{path}, Stdout: &out}))
	return out.String()
}

func readFile(t *testing.T, path string) memory {
	t.Helper()
	content, err := os.ReadFile(path)
	check(t, err)
	return content
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
