package release

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/fit"
)

// Explain packs one image at every rung and writes what that would take and cost, and why the plan has the one it has.
func Explain(ctx context.Context, o Options, name string, out io.Writer) error {
	w, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer w.close()
	factory, staged, err := w.stage(ctx)
	if err != nil {
		return err
	}
	empty, err := w.format(ctx)
	if err != nil {
		return err
	}
	f, err := w.newFitting(ctx, factory, staged, empty)
	if err != nil {
		return err
	}
	item := slices.IndexFunc(f.items, func(i fit.Item) bool { return i.Name == name })
	if item < 0 {
		return fmt.Errorf("no image %q; there are %s", name, strings.Join(f.names(), ", "))
	}
	plan, err := f.planner.Plan(ctx, f.items)
	if err != nil {
		return err
	}
	return f.explain(ctx, plan, item, out)
}

func (f *fitting) names() []string {
	var names []string
	for _, item := range f.items {
		names = append(names, item.Name)
	}
	return names
}

// alternative is an option of an image beside the chosen one.
type alternative struct {
	fit.Option
	fit.Taken
	read int64 // microseconds, over all platforms that activate the image
}

func (f *fitting) explain(ctx context.Context, plan fit.Plan, item int, out io.Writer) error {
	var all []alternative
	for o, option := range f.items[item].Options {
		taken, err := f.measure(ctx, item, o)
		if err != nil {
			return err
		}
		read := f.planner.Calibration.Read(option.Rung, option.Unpacked) * int64(f.items[item].Activations)
		all = append(all, alternative{option, taken, read})
	}
	chosen := all[plan.Decisions[item].Option]
	left := tightest(plan.Budgets)
	fmt.Fprintf(out, "%s is packed as %v, %s: %v in /usr, %s of cold reads at boots of %d platforms.\n%s is the tightest budget; it has %v left.\n\n",
		f.items[item].Name, chosen.Rung, chosen.Placement, chosen.Cost, milliseconds(chosen.read), f.items[item].Activations, left.Name, left.Left())
	slices.SortStableFunc(all, func(a, b alternative) int { return cmp.Compare(a.read, b.read) })
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "rung\tplacement\tsize\tin /usr\tcold read\tinstead of the chosen one")
	for _, a := range all {
		fmt.Fprintf(table, "%v\t%s\t%v\t%v\t%s\t%s\n", a.Rung, a.Placement, a.Size, a.Cost, milliseconds(a.read), a.instead(chosen, left.Left()))
	}
	return table.Flush()
}

// instead says what would be won and lost with an alternative.
func (a alternative) instead(chosen alternative, left size.Bytes) string {
	more, slower := a.Cost-chosen.Cost, a.read-chosen.read
	switch {
	case a.Option == chosen.Option:
		return "chosen"
	case more >= 0 && slower >= 0:
		return "worse: no smaller and no faster"
	case more <= 0 && slower >= 0:
		return fmt.Sprintf("slower by %s, smaller by %v", milliseconds(slower), -more)
	case more > left:
		return fmt.Sprintf("faster by %s, and %v larger, which is %v more than is left", milliseconds(-slower), more, more-left)
	}
	return fmt.Sprintf("faster by %s, and %v larger: other images make more of the room", milliseconds(-slower), more)
}

func tightest(budgets []fit.Budget) fit.Budget {
	return slices.MinFunc(budgets, func(a, b fit.Budget) int { return cmp.Compare(a.Left(), b.Left()) })
}
