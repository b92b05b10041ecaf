package early

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/flatcar/oem-sysext/release/format/cpio"
	"github.com/flatcar/oem-sysext/release/format/ddi"
	"github.com/flatcar/oem-sysext/release/format/initramfs"
)

// List prints what a kernel unpacks from a file. The first kernel rule that the file breaks is the error.
func List(file string, out io.Writer) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var unsigned []error
	err = initramfs.List(out, f, func(m initramfs.Member, content io.Reader) error {
		problem, err := stubProblem(m, content)
		unsigned = append(unsigned, problem)
		return err
	})
	if err = errors.Join(append(unsigned, err)...); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// stubProblem returns why systemd would not merge an image in one of systemd-stub's directories.
func stubProblem(m initramfs.Member, content io.Reader) (problem, err error) {
	if dir := path.Dir(path.Clean(m.Name)); dir != ".extra/sysext" && dir != ".extra/global_sysext" || m.Mode&cpio.ModeType != cpio.ModeFile {
		return nil, nil
	}
	image, err := os.CreateTemp("", "image.")
	if err != nil {
		return nil, err
	}
	defer os.Remove(image.Name())
	defer image.Close()
	n, err := io.Copy(image, content)
	if err != nil {
		return nil, err
	}
	if _, err := ddi.Read(image, n); err != nil {
		return fmt.Errorf("%s has no valid signature, which systemd requires of images from a boot loader: %w", m.Name, err), nil
	}
	return nil, nil
}
