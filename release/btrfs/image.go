package btrfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// privateCopy copies image to a file without a name in dir, which goes when it is closed.
func privateCopy(image, dir string) (*os.File, error) {
	in, err := os.Open(image)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	out, err := scratchFile(dir)
	if err != nil {
		return nil, err
	}
	if err := copySparse(out, in, 0, info.Size()); err != nil {
		out.Close()
		return nil, fmt.Errorf("copy %s: %w", image, err)
	}
	return out, nil
}

// scratchFile creates a file without a name in dir.
func scratchFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".btrfs.*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
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

// dirOf is where a file that will become path may be prepared.
func dirOf(path string) string { return filepath.Dir(path) }
