// Package esp reads and replaces files of the EFI system partition in a disk image, such as the kernels that boot.
//
// The programs of mtools do it, from the tool root: the partition is FAT, of a width that its size decides, and it keeps
// the boot loader, so it is edited by the code that has edited such file systems for thirty years, in a sandbox.
// The libraries at hand (diskfs/go-diskfs) write FAT32 only.
package esp

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
)

// Tools are the packages of the tool root whose programs are run.
var Tools = []string{"mtools"}

// SlotA is where the kernel of the first slot lies.
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

// Write puts a file into the partition, in the place of one of that name. It gets the time of the file.
func (p Partition) Write(ctx context.Context, from, name string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
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
	c.Env = append(c.Env, "MTOOLSRC=/dev/null") // no drives but the one that is named
	if err := p.Tools.Run(ctx, c); err != nil {
		return fmt.Errorf("EFI system partition at byte %d: %w", p.Offset, err)
	}
	return nil
}
