package slot

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/esp"
	"github.com/flatcar/oem-sysext/release/format/gpt"
)

var espType = gpt.MustGUID(disks.ESPType)

// kernelDir is where Flatcar's boot loader looks for kernels.
const kernelDir = "/flatcar"

// Release is what goes into a slot.
type Release struct{ Usr, Kernel File }

// File is a file with what it must be.
type File struct {
	Path   string
	Size   size.Bytes
	SHA256 digest.SHA256
}

// Installer installs releases.
type Installer struct {
	Tools   *toolroot.Root
	Scratch string // a directory for a copy of the EFI system partition
}

// Install writes a release into the slot that does not run and makes it the first choice for one try. It returns that
// slot. All that can be known beforehand is checked before anything is written:
//
//  1. the slot is marked as one that does not boot;
//  2. the partition is written, and read back;
//  3. the kernel goes into the EFI system partition: mtools edits a copy of it, of which what is different is written;
//  4. the slot becomes the first choice, with one try.
//
// Whenever it stops before the end, the other slot boots as before, and installing again does all that is left to do.
func (i Installer) Install(ctx context.Context, d *Disk, r Release) (Slot, error) {
	table, err := d.table()
	if err != nil {
		return Slot{}, err
	}
	slots := List(table)
	target, err := other(slots)
	if err != nil {
		return Slot{}, err
	}
	system, err := find(table)
	if err != nil {
		return Slot{}, err
	}
	slot := slots[target]
	if int64(r.Usr.Size) > slot.Partition.Size() {
		return Slot{}, fmt.Errorf("%s has %v; slot %s (%s) has room for %v", r.Usr.Path, r.Usr.Size, slot.Name, slot.Partition.Name, size.Bytes(slot.Partition.Size()))
	}
	for _, p := range []gpt.Partition{slot.Partition, system} {
		if err := d.claim(p); err != nil {
			return Slot{}, err
		}
	}
	for _, f := range []File{r.Usr, r.Kernel} {
		if err := f.check(); err != nil {
			return Slot{}, err
		}
	}
	scratch, err := os.MkdirTemp(i.Scratch, "efi-system.")
	if err != nil {
		return Slot{}, err
	}
	defer os.RemoveAll(scratch)
	changed, err := i.withKernel(ctx, io.NewSectionReader(d.file, system.Offset(), system.Size()), r.Kernel, slot, scratch)
	if err != nil {
		return Slot{}, err
	}

	slots[target].Priority, slots[target].Tries, slots[target].Successful = 0, 0, false
	if err := apply(table, slots...).Write(d.file); err != nil {
		return Slot{}, err
	}
	if err := d.put(ctx, slot.Partition, r.Usr); err != nil {
		return Slot{}, err
	}
	if err := d.put(ctx, system, changed); err != nil {
		return Slot{}, err
	}
	slots[target].Tries = 1
	slots = prioritise(slots, target)
	return slots[target], apply(table, slots...).Write(d.file)
}

// other returns the index of the slot that an update goes to: not the one that is known to boot and comes first, nor
// the first that boots at all when none is known to.
func other(slots []Slot) (int, error) {
	if len(slots) != 2 || slots[0].Partition.ID == slots[1].Partition.ID ||
		!isSlot(slots[0].Partition.ID) || !isSlot(slots[1].Partition.ID) {
		return 0, fmt.Errorf("the disk has %d partitions of Flatcar's type for /usr; wanted USR-A and USR-B with their fixed identifiers, %v and %v", len(slots), ids["A"], ids["B"])
	}
	var good []Slot
	for _, s := range slots {
		if s.Successful {
			good = append(good, s)
		}
	}
	kept, err := Next(good)
	if err != nil {
		kept, err = Next(slots)
	}
	if err != nil {
		return 0, err
	}
	if slots[0].Name == kept.Name {
		return 1, nil
	}
	return 0, nil
}

func isSlot(id gpt.GUID) bool { return id == ids["A"] || id == ids["B"] }

func find(table *gpt.Table) (gpt.Partition, error) {
	for _, p := range table.Partitions() {
		if p.Type == espType {
			return p, nil
		}
	}
	return gpt.Partition{}, fmt.Errorf("the disk has no EFI system partition (%v)", espType)
}

// check reads the file once, so that nothing is touched for a broken one.
func (f File) check() error {
	got, n, err := digest.OfFile(f.Path)
	if err == nil && (got != f.SHA256 || n != int64(f.Size)) {
		err = fmt.Errorf("%s has %d B with the sha256 %v; wanted %d B with %v, as its release says", f.Path, n, got, f.Size, f.SHA256)
	}
	return err
}

// withKernel returns a copy of the EFI system partition with the kernel in it.
func (i Installer) withKernel(ctx context.Context, system *io.SectionReader, kernel File, slot Slot, scratch string) (File, error) {
	name := kernelDir + "/vmlinuz-" + strings.ToLower(slot.Name)
	path := filepath.Join(scratch, "partition")
	if err := copySparse(ctx, path, system); err != nil {
		return File{}, err
	}
	edited := esp.Partition{Tools: i.Tools, Disk: path}
	// Clusters that belong to no file are what an installation leaves that was cut off.
	if err := esp.Repair(ctx, i.Tools, path); err != nil {
		return File{}, err
	}
	if err := edited.MakeDir(ctx, kernelDir); err != nil {
		return File{}, err
	}
	if err := edited.Write(ctx, kernel.Path, name); err != nil {
		return File{}, err
	}
	back := File{filepath.Join(scratch, "kernel"), kernel.Size, kernel.SHA256}
	if err := edited.Read(ctx, name, back.Path); err != nil {
		return File{}, err
	}
	if err := back.check(); err != nil {
		return File{}, err
	}
	sum, n, err := digest.OfFile(path)
	return File{path, size.Bytes(n), sum}, err
}

// Chunk is what is written at once. Before each the context may end an installation.
const Chunk = 256 * size.KiB

// copySparse leaves holes for zeros.
func copySparse(ctx context.Context, path string, from *io.SectionReader) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err = f.Truncate(from.Size()); err == nil {
		err = writeChanged(ctx, f, 0, from)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// put writes a file over the beginning of a partition, and reads it back.
func (d *Disk) put(ctx context.Context, p gpt.Partition, content File) error {
	f, err := os.Open(content.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	from := io.NewSectionReader(f, 0, int64(content.Size))
	if err := writeChanged(ctx, d.file, p.Offset(), from); err != nil {
		return fmt.Errorf("write partition %d (%s): %w", p.Number, p.Name, err)
	}
	if err := d.file.Sync(); err != nil {
		return err
	}
	if f, isFile := d.file.(*os.File); isFile {
		// What is read back should come from the disk.
		if err := unix.Fadvise(int(f.Fd()), p.Offset(), from.Size(), unix.FADV_DONTNEED); err != nil {
			return err
		}
	}
	got, _, err := digest.OfReader(io.NewSectionReader(d.file, p.Offset(), from.Size()))
	if err == nil && got != content.SHA256 {
		err = fmt.Errorf("partition %d (%s) reads back with the sha256 %v; wanted %v: the disk is broken, or %s changed meanwhile", p.Number, p.Name, got, content.SHA256, content.Path)
	}
	return err
}

// readWriter is what writeChanged works on.
type readWriter interface {
	io.ReaderAt
	io.WriterAt
}

// writeChanged writes what is different already there: holes of disk images stay holes, and flash is spared.
func writeChanged(ctx context.Context, to readWriter, at int64, from *io.SectionReader) error {
	want, got := make([]byte, Chunk), make([]byte, Chunk)
	for done := int64(0); done < from.Size(); done += int64(Chunk) {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(int64(Chunk), from.Size()-done)
		if _, err := from.ReadAt(want[:n], done); err != nil {
			return err
		}
		if _, err := to.ReadAt(got[:n], at+done); err != nil {
			return err
		}
		if bytes.Equal(want[:n], got[:n]) {
			continue
		}
		if _, err := to.WriteAt(want[:n], at+done); err != nil {
			return err
		}
	}
	return nil
}
