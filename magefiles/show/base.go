package release

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// ShowBase opens the base and writes what is known of it.
func ShowBase(ctx context.Context, o Options, out io.Writer) error {
	w, err := openForImages(ctx, o)
	if err != nil {
		return err
	}
	defer w.close()
	empty, err := w.format(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, fact := range [][2]string{
		{"base", w.base.ID}, {"version", w.base.Version}, {"build", w.base.Build}, {"architecture", w.base.Arch},
		{"systemd", w.base.Systemd}, {"kernel", w.base.Release}, {"kernel file", w.base.Kernel},
		{"disk image", w.base.Disk}, {"made", w.Epoch.Format("2006-01-02 15:04 MST")},
		{"free in /usr", fmt.Sprintf("%v, without images", empty.Free)}, {"embeds already", strings.Join(w.base.Embeds, ", ")},
	} {
		if fact[1] != "" {
			fmt.Fprintf(table, "%s\t%s\n", fact[0], fact[1])
		}
	}
	return table.Flush()
}
