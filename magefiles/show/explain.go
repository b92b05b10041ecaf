package show

import (
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/release/plan"
)

// Explanation prints why one image is packed as it is, and its alternatives.
func Explanation(out io.Writer, e *plan.Explanation) error {
	fmt.Fprintf(out, "%s is packed as %v, %s: %v in /usr, %s of cold reads at boots of %s.\n%s is the tightest budget; it has %v left.\n\n",
		e.Name, e.Chosen.Rung, e.Chosen.Placement, e.Chosen.Cost, size.Milliseconds(e.Chosen.Read), counted(e.Activations, "platform"),
		e.Tightest.Name, e.Tightest.Left())
	t := table.New(out, "rung", "placement", "size", "in /usr", "cold read", "compared with the chosen one")
	for _, a := range e.Alternatives {
		t.Row(a.Rung, a.Placement, a.Size, a.Cost, size.Milliseconds(a.Read), e.Instead(a))
	}
	return t.Flush()
}

// counted returns a number with its noun, in singular or plural.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
