package slot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/esp"
	"github.com/flatcar/oem-sysext/release/format/gpt"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

const usrSize = 2 * size.MiB

// machine is a disk like Flatcar's, but small, whose slot A runs.
type machine struct {
	tools   *toolroot.Root
	dir     string
	disk    string
	usrA    []byte
	kernelA []byte
	install Installer
	kernels map[string]digest.SHA256 // by slot and digest of the EFI system partition, since looking takes a moment
}

func newMachine(t *testing.T, fat ...string) machine {
	t.Helper()
	m := machine{tools: toolroottest.Judges(t), dir: t.TempDir(), usrA: random(1, int(usrSize)), kernelA: random(2, 300_000), kernels: map[string]digest.SHA256{}}
	m.disk = filepath.Join(m.dir, "disk")
	m.install = Installer{Tools: m.tools, Scratch: t.TempDir()}
	usr, boot := filepath.Join(m.dir, "usr"), filepath.Join(m.dir, "boot")
	check(t, os.WriteFile(usr, m.usrA, 0o600))
	check(t, os.WriteFile(boot, nil, 0o600))
	check(t, os.Truncate(boot, 40<<20))
	check(t, m.tools.Run(t.Context(), toolroot.Cmd{Program: "mkfs.fat", Args: append(fat, boot), Write: []string{boot}}))
	p := esp.Partition{Tools: m.tools, Disk: boot}
	check(t, p.MakeDir(t.Context(), kernelDir))
	kernel := m.file(t, "kernel-a", m.kernelA)
	check(t, p.Write(t.Context(), kernel.Path, "/flatcar/vmlinuz-a"))
	check(t, p.Write(t.Context(), kernel.Path, "/flatcar/vmlinuz-b"))
	check(t, vm.MakeDisk(t.Context(), m.tools, m.disk, []vm.Partition{
		{Number: 1, Name: "EFI-SYSTEM", Type: espType.String(), Content: boot},
		vm.UsrA(usr),
		{Number: 4, Name: "USR-B", Type: disks.UsrType, UUID: disks.UsrBUUID, Size: usrSize + size.MiB},
		{Number: 9, Name: "ROOT", Type: disks.DataType, Size: size.MiB},
	}))
	return m
}

func (m machine) file(t *testing.T, name string, content []byte) File {
	t.Helper()
	path := filepath.Join(m.dir, name)
	check(t, os.WriteFile(path, content, 0o600))
	return File{path, size.Bytes(len(content)), digest.Of(content)}
}

// release is made of random bytes, with some zeros as partitions have them.
func (m machine) release(t *testing.T, seed byte) Release {
	t.Helper()
	usr := random(seed, int(usrSize))
	clear(usr[int(Chunk) : 3*int(Chunk)])
	return Release{m.file(t, fmt.Sprintf("usr-%d", seed), usr), m.file(t, fmt.Sprintf("kernel-%d", seed), random(seed+1, 400_000))}
}

// holds compares what a slot holds with a release.
func (m machine) holds(t *testing.T, d *Disk, name string, usr, kernel digest.SHA256) error {
	t.Helper()
	table, err := d.table()
	check(t, err)
	system, err := find(table)
	check(t, err)
	for _, s := range List(table) {
		if s.Name != name {
			continue
		}
		got, _, err := digest.OfReader(io.NewSectionReader(d.file, s.Partition.Offset(), int64(usrSize)))
		check(t, err)
		if got != usr {
			return fmt.Errorf("slot %s has another /usr", name)
		}
	}
	got, err := m.kernel(t, d, system, name)
	if err == nil && got != kernel {
		err = fmt.Errorf("slot %s has another kernel", name)
	}
	return err
}

func (m machine) kernel(t *testing.T, d *Disk, system gpt.Partition, name string) (digest.SHA256, error) {
	t.Helper()
	content := io.NewSectionReader(d.file, system.Offset(), system.Size())
	sum, _, err := digest.OfReader(content)
	check(t, err)
	key := name + sum.String()
	if known, seen := m.kernels[key]; seen {
		return known, nil
	}
	boot, out := filepath.Join(t.TempDir(), "boot"), filepath.Join(t.TempDir(), "out")
	check(t, copySparse(t.Context(), boot, content))
	if err := (esp.Partition{Tools: m.tools, Disk: boot}).Read(t.Context(), kernelDir+"/vmlinuz-"+strings.ToLower(name), out); err != nil {
		return digest.SHA256{}, err
	}
	m.kernels[key], _, err = digest.OfFile(out)
	return m.kernels[key], err
}

// TestInstall updates a disk twice, to B and back to A, with the real tools as judges.
func TestInstall(t *testing.T) {
	for _, width := range []string{"16", "32"} {
		t.Run("FAT"+width, func(t *testing.T) {
			m := newMachine(t, "-F", width)
			d := open(t, m.disk)
			old := Release{Usr: File{SHA256: digest.Of(m.usrA)}, Kernel: File{SHA256: digest.Of(m.kernelA)}}
			for i, step := range []struct {
				name, other string
				after       []state
			}{
				{"B", "A", []state{{1, 0, true}, {2, 1, false}}},
				{"A", "B", []state{{2, 1, false}, {1, 0, true}}},
			} {
				r := m.release(t, byte(10*i+10))
				slot, err := m.install.Install(t.Context(), d, r)
				check(t, err)
				if slot.Name != step.name || slot.Tries != 1 {
					t.Errorf("installed to %v; wanted slot %s", slot, step.name)
				}
				check(t, m.holds(t, d, step.name, r.Usr.SHA256, r.Kernel.SHA256))
				check(t, m.holds(t, d, step.other, old.Usr.SHA256, old.Kernel.SHA256))
				m.judge(t)
				slots := list(t, d)
				var after []state
				for _, s := range slots {
					after = append(after, state{s.Priority, s.Tries, s.Successful})
				}
				if diff := cmp.Diff(step.after, after, cmp.AllowUnexported(state{})); diff != "" {
					t.Errorf("slots (-want +got):\n%s", diff)
				}
				chosen, err := Choose(d)
				check(t, err)
				if chosen.Name != step.name {
					t.Errorf("boots %s; wanted %s", chosen.Name, step.name)
				}
				check(t, MarkGood(d, chosen.Name))
				old = r
			}
			if left, _ := os.ReadDir(m.install.Scratch); len(left) > 0 {
				t.Errorf("it leaves %v", left)
			}
		})
	}
}

// judge lets sgdisk, sfdisk and fsck.fat look at the disk.
func (m machine) judge(t *testing.T) {
	t.Helper()
	var out bytes.Buffer
	check(t, m.tools.Run(t.Context(), toolroot.Cmd{Program: "sgdisk", Args: []string{"--verify", m.disk}, Read: []string{m.disk}, Stdout: &out}))
	check(t, m.tools.Run(t.Context(), toolroot.Cmd{Program: "sfdisk", Args: []string{"--verify", m.disk}, Read: []string{m.disk}, Stdout: &out}))
	if text := out.String(); !strings.Contains(text, "No problems found") || !strings.Contains(text, "No errors detected") {
		t.Errorf("sgdisk and sfdisk say %s", text)
	}
	check(t, m.fsck(t, open(t, m.disk)))
}

// fsck lets fsck.fat look at the EFI system partition.
func (m machine) fsck(t *testing.T, d *Disk) error {
	t.Helper()
	table, err := d.table()
	check(t, err)
	system, err := find(table)
	check(t, err)
	boot := filepath.Join(t.TempDir(), "boot")
	check(t, copySparse(t.Context(), boot, io.NewSectionReader(d.file, system.Offset(), system.Size())))
	return m.tools.Run(t.Context(), toolroot.Cmd{Program: "fsck.fat", Args: []string{"-n", boot}, Read: []string{boot}})
}

// TestPowerCut cuts the power after every write, with none, some or all of what was not yet synced on the disk:
// whatever boots next, or would if that failed, is whole, and the slot that runs is untouched. Installing again then works.
func TestPowerCut(t *testing.T) {
	m := newMachine(t, "-F", "32", "-s", "1") // with file allocation tables that are more than one write
	running := open(t, m.disk)
	check(t, MarkGood(running, "B")) // an older release
	check(t, MarkGood(running, "A"))
	before, err := os.ReadFile(m.disk)
	check(t, err)
	r := m.release(t, 10)
	recorded := &tape{memory: slices.Clone(before)}
	_, err = m.install.Install(t.Context(), &Disk{file: recorded, size: int64(len(before))}, r)
	check(t, err)
	boots := map[string]int{}
	var last []byte // a state that was looked at already
	for cut := range len(recorded.writes) + 1 {
		for _, lost := range []string{"nothing", "all", "all but the last", "the first", "half of the last"} {
			content := recorded.after(before, cut, lost)
			if bytes.Equal(content, last) {
				continue
			}
			last = content
			d := &Disk{file: &tape{memory: content}, size: int64(len(content))}
			where := fmt.Sprintf("power cut after %d of %d writes, %s lost", cut, len(recorded.writes), lost)
			table, err := d.table()
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			slot, err := Next(List(table))
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			boots[slot.Name]++
			if b := List(table)[1]; b.Boots() {
				older := m.holds(t, d, "B", digest.Of(make([]byte, usrSize)), digest.Of(m.kernelA))
				if err := m.holds(t, d, "B", r.Usr.SHA256, r.Kernel.SHA256); err != nil && (older != nil || slot.Name == "B") {
					t.Fatalf("%s: slot B would boot: %v", where, err)
				}
			}
			if err := m.holds(t, d, "A", digest.Of(m.usrA), digest.Of(m.kernelA)); err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			if lost != "nothing" || cut%2 > 0 || slot.Name == "B" {
				continue
			}
			if _, err := m.install.Install(t.Context(), d, r); err != nil {
				t.Fatalf("%s: then installing again: %v", where, err)
			}
			check(t, m.holds(t, d, "B", r.Usr.SHA256, r.Kernel.SHA256))
			check(t, m.fsck(t, d))
		}
	}
	if boots["A"] < 20 || boots["B"] == 0 {
		t.Errorf("boots %v; wanted A many times and then B", boots)
	}
}

// tape is a disk in memory that records what is written.
type tape struct {
	memory []byte
	writes []write
	syncs  int
}

type write struct {
	at      int64
	content []byte
	syncs   int // how often the disk was synced before
}

func (d *tape) ReadAt(p []byte, at int64) (int, error) {
	return bytes.NewReader(d.memory).ReadAt(p, at)
}

func (d *tape) WriteAt(p []byte, at int64) (int, error) {
	d.writes = append(d.writes, write{at, slices.Clone(p), d.syncs})
	return copy(d.memory[at:], p), nil
}

func (d *tape) Sync() error  { d.syncs++; return nil }
func (d *tape) Close() error { return nil }

// after returns the disk after some of the writes. Of those after the last sync before the cut, some are lost.
func (d *tape) after(before []byte, cut int, lost string) []byte {
	content := slices.Clone(before)
	var unsynced []write
	for _, w := range d.writes[:cut] {
		if w.syncs < d.writes[cut-1].syncs {
			copy(content[w.at:], w.content)
		} else {
			unsynced = append(unsynced, w)
		}
	}
	switch {
	case len(unsynced) == 0 || lost == "all":
		return content
	case lost == "all but the last":
		unsynced = unsynced[len(unsynced)-1:]
	case lost == "the first":
		unsynced = unsynced[1:]
	case lost == "half of the last":
		end := &unsynced[len(unsynced)-1]
		end.content = end.content[:len(end.content)/2]
	}
	for _, w := range unsynced {
		copy(content[w.at:], w.content)
	}
	return content
}

// TestInstallRefuses leaves the disk as it was.
func TestInstallRefuses(t *testing.T) {
	m := newMachine(t)
	good := m.release(t, 10)
	large := m.file(t, "large", make([]byte, usrSize+2*size.MiB))
	for name, test := range map[string]struct {
		change func(*Release)
		want   string
	}{
		"large partition":   {func(r *Release) { r.Usr = large }, "has 4.0 MiB; slot B (USR-B) has room for 3.0 MiB"},
		"other partition":   {func(r *Release) { r.Usr.SHA256[0] ^= 1 }, "as its release says"},
		"short partition":   {func(r *Release) { r.Usr.Size++ }, "as its release says"},
		"other kernel":      {func(r *Release) { r.Kernel.SHA256[0] ^= 1 }, "as its release says"},
		"no such partition": {func(r *Release) { r.Usr.Path += ".no" }, "no such file"},
		"large kernel":      {func(r *Release) { r.Kernel = m.file(t, "kernel", random(1, 45<<20)) }, "needs 45.0 MiB, "},
	} {
		t.Run(name, func(t *testing.T) {
			before, _, err := digest.OfFile(m.disk)
			check(t, err)
			r := good
			test.change(&r)
			_, err = m.install.Install(t.Context(), open(t, m.disk), r)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got the error %v\nwanted one with   %s", err, test.want)
			}
			after, _, err := digest.OfFile(m.disk)
			check(t, err)
			if before != after {
				t.Error("the disk has changed")
			}
			if left, _ := os.ReadDir(m.install.Scratch); len(left) > 0 {
				t.Errorf("it leaves %v", left)
			}
		})
	}
}

// TestBrokenDisk does not keep what is written to it.
func TestBrokenDisk(t *testing.T) {
	m := newMachine(t)
	content, err := os.ReadFile(m.disk)
	check(t, err)
	d := &Disk{file: &forgetful{tape{memory: content}}, size: int64(len(content))}
	_, err = m.install.Install(t.Context(), d, m.release(t, 10))
	if err == nil || !strings.Contains(err.Error(), "reads back with the sha256") {
		t.Errorf("got %v; wanted what is read back to be checked", err)
	}
	slots := list(t, d)
	if next, err := Next(slots); err != nil || next.Name != "A" {
		t.Errorf("boots %s (%v); wanted A", next.Name, err)
	}
}

type forgetful struct{ tape }

func (f *forgetful) WriteAt(p []byte, at int64) (int, error) {
	if len(p) == int(Chunk) {
		p = slices.Clone(p)
		p[len(p)-1] ^= 1
	}
	return f.tape.WriteAt(p, at)
}

// TestDevice installs to a block device, and refuses while something on this machine uses the slot.
func TestDevice(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, "losetup", "partx")
	m := newMachine(t)
	device := host(t, "losetup", "--find", "--show", m.disk)
	defer host(t, "losetup", "--detach", device)
	host(t, "partx", "--add", device) // for kernels that do not know GPT
	defer host(t, "partx", "--delete", device)
	r := m.release(t, 10)
	for _, used := range []string{"p4", "p1"} {
		user, err := os.OpenFile(device+used, os.O_RDONLY|os.O_EXCL, 0)
		check(t, err)
		d, err := Open(device)
		check(t, err)
		_, err = m.install.Install(t.Context(), d, r)
		if err == nil || !strings.Contains(err.Error(), device+used+") is in use by this machine") {
			t.Errorf("got %v; wanted a partition in use to be refused", err)
		}
		check(t, errors.Join(d.Close(), user.Close()))
	}
	d, err := Open(device)
	check(t, err)
	_, err = m.install.Install(t.Context(), d, r)
	check(t, err)
	check(t, m.holds(t, d, "B", r.Usr.SHA256, r.Kernel.SHA256))
	check(t, d.Close())
	m.judge(t)
}

func host(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := run.Output(context.Background(), run.Cmd{Program: program, Args: args, Env: run.HostEnv("PATH")})
	check(t, err)
	return strings.TrimSpace(string(out))
}

func TestFileIsNoDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(path, make([]byte, 1<<20), 0o600))
	if _, _, err := Read(path); err == nil || !strings.Contains(err.Error(), "protective MBR") {
		t.Errorf("got %v", err)
	}
	table, err := gpt.New(gpt.GUID{1}, 2048, nil)
	check(t, err)
	d := open(t, path)
	_, err = d.file.WriteAt(table.ProtectiveMBR(), 0)
	check(t, err)
	check(t, table.Write(d.file))
	if _, err := Choose(d); !errors.Is(err, errNoSlot) {
		t.Errorf("got %v; wanted %v", err, errNoSlot)
	}
}

func random(seed byte, length int) []byte {
	content := make([]byte, length)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(content) // never fails
	return content
}
