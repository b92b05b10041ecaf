package kernel

import (
	"io"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Signed tells whether a kernel carries a Secure Boot signature, anybody's.
func Signed(f io.ReaderAt, length size.Bytes) (bool, error) {
	table, err := findCertificates(f, length)
	return table.length > 0, err
}
