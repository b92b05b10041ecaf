package extension

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/erofs/go-erofs"
)

// checkErofs reads every file of an erofs file system, and refuses what lies outside of it: for fsck.erofs there are zeros.
// Compressed images are left to fsck.erofs, which does not decompress zeros.
func checkErofs(part *io.SectionReader) (err error) {
	name := "."
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("%q cannot be read: %v", "/"+name, broken)
		}
	}()
	files, err := erofs.Open(part)
	if errors.Is(err, erofs.ErrNotImplemented) {
		return nil
	}
	if err != nil {
		return err
	}
	return fs.WalkDir(files, ".", func(at string, d fs.DirEntry, err error) error {
		name = at
		if err == nil && d.Type().IsRegular() {
			err = readWhole(files, at)
		}
		if err != nil {
			return fmt.Errorf("%q cannot be read: %w", "/"+at, err)
		}
		return nil
	})
}

func readWhole(files fs.FS, name string) error {
	f, err := files.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, f)
	if err == nil && n != info.Size() {
		err = fmt.Errorf("it has %d bytes; wanted %d", n, info.Size())
	}
	return err
}
