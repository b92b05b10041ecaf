package release

import (
	"fmt"
	"io"
	"os"

	"github.com/flatcar/oem-sysext/release/initramfs"
)

// ListInitrd writes for people what a kernel would unpack of a file. The first rule that the file breaks is the error.
func ListInitrd(path string, out io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := initramfs.List(out, f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
