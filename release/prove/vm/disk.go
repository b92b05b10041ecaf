package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/bases/disks"
)

// diskUUID is a disk's until the first boot of its machine, which makes up its own.
const diskUUID = "00000000-0000-0000-0000-000000000001"

// Partition is one partition of a disk.
type Partition struct {
	Number     int
	Name       string
	Type, UUID string     // without a UUID it gets a random one
	Attributes []int      // bits 48 to 63 of the attribute field that are set
	Size       size.Bytes // the content's when zero
	Content    string     // an image file, or empty
}

// UsrA is the first slot, as a fresh disk has it: priority 1, known to boot.
func UsrA(image string) Partition {
	return Partition{Number: 3, Name: "USR-A", Type: disks.UsrType, UUID: disks.UsrAUUID, Attributes: []int{48, 56}, Content: image}
}

// UsrB is the second slot as it is after an update and a good boot: of a higher priority than the first.
func UsrB(image string) Partition {
	return Partition{Number: 4, Name: "USR-B", Type: disks.UsrType, UUID: disks.UsrBUUID, Attributes: []int{49, 56}, Content: image}
}

// OEM makes at the path an image of the partition that says which cloud a machine is in: files by name, such as oem-release.
func OEM(ctx context.Context, tools *toolroot.Root, image string, files map[string]string) (Partition, error) {
	return data(ctx, tools, Partition{Number: 6, Name: "OEM", Content: image}, files)
}

// Root makes a partition for what a machine keeps, which RootArguments make its root file system. Files are as of OEM; a name that ends
// in a slash is a directory, and a content that begins with -> a link.
func Root(ctx context.Context, tools *toolroot.Root, image string, files map[string]string) (Partition, error) {
	return data(ctx, tools, Partition{Number: 9, Name: "ROOT", Content: image}, files)
}

// Server makes a partition that stands for a network: what stands in for Flatcar's own scripts downloads from it. Files are as of OEM.
func Server(ctx context.Context, tools *toolroot.Root, image string, files map[string]string) (Partition, error) {
	return data(ctx, tools, Partition{Number: 10, Name: "SERVER", Content: image}, files)
}

// RootArguments are for the kernel, behind those of the base.
func RootArguments() []string { return []string{"root=LABEL=ROOT", "rootfstype=btrfs"} }

// data makes the image of a partition with files.
func data(ctx context.Context, tools *toolroot.Root, p Partition, files map[string]string) (Partition, error) {
	dir, err := os.MkdirTemp(filepath.Dir(p.Content), "data.*")
	if err != nil {
		return Partition{}, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // it becomes the root directory, which more than the superuser has to get through
		return Partition{}, err
	}
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return Partition{}, err
		}
		target, isLink := strings.CutPrefix(content, "->")
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(file, 0o755)
		case isLink:
			err = os.Symlink(target, file)
		default:
			err = os.WriteFile(file, []byte(content), 0o644)
		}
		if err != nil {
			return Partition{}, err
		}
	}
	if err := os.WriteFile(p.Content, nil, 0o600); err != nil {
		return Partition{}, err
	}
	if err := os.Truncate(p.Content, int64(disks.OEMSize)); err != nil {
		return Partition{}, err
	}
	err = tools.Run(ctx, toolroot.Cmd{
		Program: "mkfs.btrfs", Args: []string{"--quiet", "--mixed", "--metadata", "single", "--label", p.Name, "--rootdir", dir, p.Content},
		Read: []string{dir}, Write: []string{p.Content},
	})
	p.Type = disks.DataType
	return p, err
}

// align is where partitions begin, and what is left free at both ends of a disk.
const align = size.MiB

// MakeDisk writes a sparse disk image with a GPT.
func MakeDisk(ctx context.Context, tools *toolroot.Root, path string, partitions []Partition) (err error) {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, out.Close())
		if err != nil {
			os.Remove(path)
			err = fmt.Errorf("make disk %s: %w", path, err)
		}
	}()
	table := &strings.Builder{}
	fmt.Fprintf(table, "label: gpt\nlabel-id: %s\nunit: sectors\n", diskUUID)
	end := align
	for _, p := range partitions {
		if p.Size, err = p.size(); err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\n", p.tableLine(end))
		if err := copySparse(out, end, p.Content); err != nil {
			return err
		}
		end += (p.Size + align - 1) / align * align
	}
	if err := out.Truncate(int64(end + align)); err != nil {
		return err
	}
	return tools.Run(ctx, toolroot.Cmd{
		Program: "sfdisk",
		Args:    []string{"--quiet", path},
		Write:   []string{path},
		Stdin:   strings.NewReader(table.String()),
	})
}

func (p Partition) size() (size.Bytes, error) {
	if p.Size != 0 {
		return p.Size, nil
	}
	info, err := os.Stat(p.Content)
	if err != nil {
		return 0, fmt.Errorf("partition %s: %w", p.Name, err)
	}
	return size.Bytes(info.Size()), nil
}

// tableLine is the partition in sfdisk's language (sfdisk(8), named-fields format).
func (p Partition) tableLine(start size.Bytes) string {
	const sector = 512
	line := fmt.Sprintf("%d: start=%d, size=%d, type=%s, name=%q", p.Number, start/sector, p.Size/sector, p.Type, p.Name)
	if p.UUID != "" {
		line += ", uuid=" + p.UUID
	}
	if len(p.Attributes) > 0 {
		bits := strings.Trim(strings.ReplaceAll(fmt.Sprint(p.Attributes), " ", ","), "[]")
		line += fmt.Sprintf(", attrs=\"GUID:%s\"", bits)
	}
	return line
}

// copySparse writes an image at an offset, leaving holes for what is all zero.
func copySparse(out io.WriterAt, at size.Bytes, image string) error {
	if image == "" {
		return nil
	}
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	zero, buffer := make([]byte, size.MiB), make([]byte, size.MiB)
	for {
		n, err := io.ReadFull(f, buffer)
		if !bytes.Equal(buffer[:n], zero[:n]) {
			if _, err := out.WriteAt(buffer[:n], int64(at)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		at += size.Bytes(n)
	}
}
