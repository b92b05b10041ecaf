package slot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/gpt"
)

// state is priority, tries and success of a slot.
type state struct {
	priority, tries int
	successful      bool
}

// newDisk makes a disk with slots A, B and, for odd disks, further ones.
func newDisk(t *testing.T, states ...state) *Disk {
	t.Helper()
	var partitions []gpt.Partition
	for i, s := range states {
		p := gpt.Partition{Number: 3 + i, Type: usrType, ID: gpt.GUID{byte(i)}, First: 40 + uint64(i), Last: 40 + uint64(i)}
		switch i {
		case 0:
			p.ID = ids["A"]
		case 1:
			p.ID = ids["B"]
		}
		p.Attributes = Slot{Partition: p, Priority: s.priority, Tries: s.tries, Successful: s.successful}.attributes() | 1<<60 | 1
		partitions = append(partitions, p)
	}
	partitions = append(partitions, gpt.Partition{Number: 9, Type: gpt.MustGUID(disks.DataType), ID: gpt.GUID{99}, First: 60, Last: 60, Attributes: 0xffff << 48})
	table, err := gpt.New(gpt.GUID{1}, 128, partitions)
	check(t, err)
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	check(t, err)
	check(t, f.Truncate(128*gpt.SectorSize))
	_, err = f.WriteAt(table.ProtectiveMBR(), 0)
	check(t, err)
	check(t, table.Write(f))
	check(t, f.Close())
	return open(t, path)
}

func states(t *testing.T, d *Disk) []state {
	t.Helper()
	slots := list(t, d)
	var all []state
	for _, s := range slots {
		if s.Partition.Attributes&^uint64(allBits) != 1<<60|1 {
			t.Errorf("slot %s: other attributes are now %#x", s.Name, s.Partition.Attributes)
		}
		all = append(all, state{s.Priority, s.Tries, s.Successful})
	}
	return all
}

// TestChoose has the rule of gptprio: what boots, and what is left of its tries.
func TestChoose(t *testing.T) {
	for name, test := range map[string]struct {
		before []state
		boots  string // empty: nothing
		after  []state
	}{
		"fresh disk":               {[]state{{1, 0, true}, {0, 0, false}}, "A", []state{{1, 0, true}, {0, 0, false}}},
		"just updated":             {[]state{{1, 0, true}, {2, 1, false}}, "B", []state{{1, 0, true}, {2, 0, false}}},
		"the only try failed":      {[]state{{1, 0, true}, {2, 0, false}}, "A", []state{{1, 0, true}, {2, 0, false}}},
		"some tries":               {[]state{{1, 3, false}, {2, 15, false}}, "B", []state{{1, 3, false}, {2, 14, false}}},
		"good ones lose tries too": {[]state{{2, 1, true}, {1, 0, true}}, "A", []state{{2, 0, true}, {1, 0, true}}},
		"a tie goes to the first":  {[]state{{3, 0, true}, {3, 1, false}}, "A", []state{{3, 0, true}, {3, 1, false}}},
		"a tie with one that can":  {[]state{{3, 0, false}, {3, 1, false}}, "B", []state{{3, 0, false}, {3, 0, false}}},
		"priority 0 never boots":   {[]state{{0, 15, true}, {1, 0, true}}, "B", []state{{0, 15, true}, {1, 0, true}}},
		"nothing boots":            {[]state{{0, 1, true}, {15, 0, false}}, "", []state{{0, 1, true}, {15, 0, false}}},
		"highest of all":           {[]state{{14, 0, true}, {15, 0, true}}, "B", []state{{14, 0, true}, {15, 0, true}}},
		"a third partition":        {[]state{{1, 0, true}, {2, 0, true}, {3, 1, false}}, "B", []state{{1, 0, true}, {2, 0, true}, {3, 0, false}}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t, test.before...)
			slot, err := Choose(d)
			if slot.Name != test.boots || (err == nil) != (test.boots != "") {
				t.Errorf("boots %q (%v); wanted %q", slot.Name, err, test.boots)
			}
			if diff := cmp.Diff(test.after, states(t, d), cmp.AllowUnexported(state{})); diff != "" {
				t.Errorf("slots (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMarkGood(t *testing.T) {
	for name, test := range map[string]struct {
		before []state
		good   string
		after  []state
	}{
		"after an update":  {[]state{{1, 0, true}, {2, 0, false}}, "B", []state{{1, 0, true}, {2, 0, true}}},
		"after a fallback": {[]state{{1, 0, true}, {2, 0, false}}, "A", []state{{2, 0, true}, {1, 0, false}}},
		"counted down":     {[]state{{15, 0, true}, {14, 1, false}}, "B", []state{{1, 0, true}, {2, 0, true}}},
		"the only one":     {[]state{{1, 0, true}, {0, 0, false}}, "A", []state{{1, 0, true}, {0, 0, false}}},
		"ties stay":        {[]state{{5, 0, true}, {1, 0, true}, {5, 0, true}}, "B", []state{{1, 0, true}, {2, 0, true}, {1, 0, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t, test.before...)
			check(t, MarkGood(d, test.good))
			if diff := cmp.Diff(test.after, states(t, d), cmp.AllowUnexported(state{})); diff != "" {
				t.Errorf("slots (-want +got):\n%s", diff)
			}
		})
	}
	if err := MarkGood(newDisk(t, state{1, 0, true}), "B"); err == nil || err.Error() != "the disk has no slot B" {
		t.Errorf("got %v", err)
	}
}

// TestOther says which slot an update goes to.
func TestOther(t *testing.T) {
	for name, test := range map[string]struct {
		slots []state
		want  string
		err   string
	}{
		"fresh disk":             {[]state{{1, 0, true}, {0, 0, false}}, "B", ""},
		"B runs":                 {[]state{{1, 0, true}, {2, 0, true}}, "A", ""},
		"an update is pending":   {[]state{{1, 0, true}, {2, 1, false}}, "B", ""},
		"an update did not come": {[]state{{1, 0, true}, {2, 0, false}}, "B", ""},
		"none is known to boot":  {[]state{{1, 1, false}, {2, 1, false}}, "A", ""},
		"none boots":             {[]state{{1, 0, false}, {0, 1, true}}, "", "no slot boots"},
		"one slot":               {[]state{{1, 0, true}}, "", "the disk has 1 partitions of Flatcar's type"},
		"three slots":            {[]state{{1, 0, true}, {0, 0, false}, {0, 0, false}}, "", "the disk has 3 partitions"},
	} {
		t.Run(name, func(t *testing.T) {
			slots := list(t, newDisk(t, test.slots...))
			i, err := other(slots)
			switch {
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("got %v; wanted %s", err, test.err)
			case test.err == "" && (err != nil || slots[i].Name != test.want):
				t.Errorf("got %s (%v); wanted %s", slots[i].Name, err, test.want)
			}
		})
	}
}

func list(t *testing.T, d *Disk) []Slot {
	t.Helper()
	table, err := d.table()
	check(t, err)
	check(t, table.Damage())
	return List(table)
}

func open(t *testing.T, path string) *Disk {
	t.Helper()
	d, err := Open(path)
	check(t, err)
	t.Cleanup(func() { check(t, d.Close()) })
	return d
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
