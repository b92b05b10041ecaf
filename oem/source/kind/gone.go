package kind

import (
	"fmt"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
)

// GoneError says that the archive no longer has a locked package.
type GoneError struct {
	Recipe, Package string
	Pinned, Offered string // versions; Offered is empty if the archive has none
	Err             error
}

func (e *GoneError) Error() string {
	offered := "offers none"
	if e.Offered != "" {
		offered = "offers " + e.Offered
	}
	return fmt.Sprintf("package %s %s is no longer in the archive, which %s; run %s: %v", e.Package, e.Pinned, offered, lock.Command(e.Recipe), e.Err)
}

func (e *GoneError) Unwrap() error { return e.Err }
