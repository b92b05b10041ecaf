package show

import (
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/release/prove/faults"
)

// Fault prints one fault and what came of it.
func Fault(out io.Writer, o faults.Outcome) {
	said := "made the release"
	if o.Said != nil {
		said = o.Said.Error()
	}
	if o.Wrong != nil {
		fmt.Fprintf(out, "FAILED  %s: %v\n        the run: %s\n", o.Fault, o.Wrong, said)
		return
	}
	fmt.Fprintf(out, "held    %s: the run: %s\n", o.Fault, said)
}

// Faults prints how many of the faults held.
func Faults(out io.Writer, held, all int, seed uint64) error {
	fmt.Fprintf(out, "%d of %d faults left nothing, and the next run made the same bytes; SEED=%d\n", held, all, seed)
	if held < all {
		return fmt.Errorf("%s did not hold", counted(all-held, "fault"))
	}
	return nil
}
