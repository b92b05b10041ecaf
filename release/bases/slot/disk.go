package slot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/release/format/gpt"
)

// Disk is an image file or a block device.
type Disk struct {
	file   file
	size   int64
	device string      // its directory below /sys; empty for an image file
	claims []io.Closer // partitions of a device that nobody else may use
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
}

// Open opens a disk for changes. Close it in the end.
func Open(path string) (*Disk, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	d := &Disk{file: f}
	if err := d.describe(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return d, nil
}

func (d *Disk) describe(f *os.File) (err error) {
	if d.size, err = f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT == unix.S_IFBLK {
		d.device = fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))
	}
	return nil
}

// Close gives everything back.
func (d *Disk) Close() error {
	var errs []error
	for _, c := range append(d.claims, d.file) {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Read returns the slots of a disk that is only read, and what is wrong with one copy of its partition table, if anything.
func Read(path string) (slots []Slot, damage, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	length, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, nil, err
	}
	table, err := gpt.Read(f, length)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return List(table), table.Damage(), nil
}

func (d *Disk) table() (*gpt.Table, error) { return gpt.Read(d.file, d.size) }

// claim makes sure that nothing on this machine uses a partition, such as a mount or dm-verity, and nothing begins to
// before the disk is closed.
func (d *Disk) claim(p gpt.Partition) error {
	if d.device == "" {
		return nil
	}
	numbers, err := filepath.Glob(d.device + "/*/partition")
	if err != nil {
		return err
	}
	for _, path := range numbers {
		number, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(number)) != strconv.Itoa(p.Number) {
			continue
		}
		name := filepath.Join("/dev", filepath.Base(filepath.Dir(path)))
		// For a block device it means: unless somebody else has it (open(2)).
		f, err := os.OpenFile(name, os.O_RDONLY|os.O_EXCL, 0)
		if errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("partition %d (%s, %s) is in use by this machine; only a slot that does not run is written, and /boot must not be mounted", p.Number, p.Name, name)
		}
		if err != nil {
			return err
		}
		d.claims = append(d.claims, f)
		return nil
	}
	return nil // the kernel has not looked for partitions on it, so none is in use
}
