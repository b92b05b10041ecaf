// Package esp reads and replaces files of the EFI system partition in a disk image, such as the kernels that boot.
//
// It runs mtools from the tool root, in a sandbox: the partition is FAT12, FAT16 or FAT32 depending on its size, and holds the
// boot loader, so mature code edits it. Go libraries (diskfs/go-diskfs) write FAT32 only.
package esp

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
)

// Tools are the packages of the tool root that are run.
var Tools = []string{"mtools"}

// SlotA is the path of the first slot's kernel.
const SlotA = "/flatcar/vmlinuz-a"

// Partition is an EFI system partition of a disk.
type Partition struct {
	Tools  *toolroot.Root
	Disk   string
	Offset int64 // in bytes
}

// Read copies a file of the partition to a new one.
func (p Partition) Read(ctx context.Context, name, to string) error {
	dir, err := filepath.Abs(filepath.Dir(to))
	if err != nil {
		return err
	}
	to = filepath.Join(dir, filepath.Base(to))
	return p.run(ctx, toolroot.Cmd{Program: "mcopy", Args: []string{"-n", "::" + name, to}, Write: []string{dir}})
}

// Write copies a file with its time into the partition and replaces one of that name. A file that does not fit is a *FullError, and nothing
// is written.
func (p Partition) Write(ctx context.Context, from, name string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := p.makeRoom(ctx, name, info.Size()); err != nil {
		return err
	}
	return p.run(ctx, toolroot.Cmd{
		Program: "mcopy", Args: []string{"-o", "-m", from, "::" + name}, Read: []string{from},
		Env: []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(info.ModTime().Unix(), 10)},
	})
}

func (p Partition) run(ctx context.Context, c toolroot.Cmd) error {
	disk, err := filepath.Abs(p.Disk)
	if err != nil {
		return err
	}
	c.Args = append([]string{"-i", fmt.Sprintf("%s@@%d", disk, p.Offset)}, c.Args...)
	c.Write = append(c.Write, disk)
	c.Env = append(c.Env, "MTOOLSRC=/dev/null") // no other drives
	if err := p.Tools.Run(ctx, c); err != nil {
		return fmt.Errorf("EFI system partition at byte %d: %w", p.Offset, err)
	}
	return nil
}
