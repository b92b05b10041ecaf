package btrfs

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// privateCopy copies the first length bytes of in to a file without a name in dir, which goes when it is closed.
func privateCopy(in *os.File, length int64, dir string) (*os.File, error) {
	out, err := os.CreateTemp(dir, ".btrfs.*")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Remove(out.Name()), copySparse(out, in, 0, length)); err != nil {
		out.Close()
		return nil, fmt.Errorf("copy %s: %w", in.Name(), err)
	}
	return out, nil
}

// copySparse makes out as long as end and copies what in has between from and end to the same place. Holes stay holes.
func copySparse(out, in *os.File, from, end int64) error {
	if err := out.Truncate(end); err != nil {
		return err
	}
	for at := from; at < end; {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // nothing but a hole follows
			return nil
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		hole = min(hole, end)
		if err := copyRange(out, in, data, hole); err != nil {
			return err
		}
		at = hole
	}
	return nil
}

func copyRange(out, in *os.File, from, end int64) error {
	if from >= end {
		return nil
	}
	if _, err := out.Seek(from, io.SeekStart); err != nil {
		return err
	}
	if _, err := in.Seek(from, io.SeekStart); err != nil {
		return err
	}
	_, err := io.CopyN(out, in, end-from) // copy_file_range where it can
	return err
}
