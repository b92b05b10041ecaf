package show

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem/definition/parity"
	"github.com/flatcar/oem-sysext/oem/host/table"
)

// Parity prints how platforms differ from Flatcar's images. The error says that a difference has no reason.
func Parity(out Output, list *parity.List, rows []parity.Row) error {
	if err := out.answer(rows, func() error { return writeParity(out, list, rows) }); err != nil {
		return err
	}
	open := 0
	for _, r := range rows {
		if r.Kind == parity.Open {
			open++
		}
	}
	if open > 0 {
		return errors.New(counted(open, "difference") + " without a reason; add a recipe, a line in missing:, or move the recipe to extras:")
	}
	return nil
}

func writeParity(out io.Writer, list *parity.List, rows []parity.Row) error {
	t := table.New(out, "platform", "tool", "Flatcar", "recipe", "is", "why")
	for _, r := range rows {
		t.Row(r.Platform, r.Tool, cmp.Or(r.Flatcar, "-"), cmp.Or(r.Recipe, "-"), r.Kind, r.Why)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nFlatcar's images as of %s, commit %.12s. A platform without a row has nothing there, nor here.\n", list.Date, list.Commit)
	return err
}
