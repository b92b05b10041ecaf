// Package table writes columns for people.
package table

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Table is rows of cells, aligned when it is flushed.
type Table struct {
	out *tabwriter.Writer
	end string // of a row
}

// New returns a table with a header, unless there are no columns.
func New(out io.Writer, columns ...string) *Table { return start(out, 0, "\n", columns) }

// Right is New with cells aligned to the right, for numbers. A trailing tab makes the last cell part of a column.
func Right(out io.Writer, columns ...string) *Table {
	return start(out, tabwriter.AlignRight, "\t\n", columns)
}

func start(out io.Writer, flags uint, end string, columns []string) *Table {
	t := &Table{tabwriter.NewWriter(out, 0, 0, 2, ' ', flags), end}
	if len(columns) > 0 {
		fmt.Fprint(t.out, strings.Join(columns, "\t"), end)
	}
	return t
}

// Row adds a row; cells are printed with %v.
func (t *Table) Row(cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(t.out, "\t")
		}
		fmt.Fprint(t.out, cell)
	}
	fmt.Fprint(t.out, t.end)
}

// Flush writes the rows, and returns write errors.
func (t *Table) Flush() error { return t.out.Flush() }
