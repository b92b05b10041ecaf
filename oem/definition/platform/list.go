package platform

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/table"
)

// List writes a table of platforms, followed by the reasons for missing tools.
func List(out io.Writer, platforms []*Platform) error {
	t := table.New(out, "ID", "NAME", "KERNEL ID", "ARCHITECTURES", "RECIPES", "EXTRAS", "INITRAMFS", "MISSING")
	var reasons []string
	for _, p := range platforms {
		missing := slices.Sorted(maps.Keys(p.Missing))
		t.Row(p.ID, p.Name, p.KernelID, words(arches(p.Arches)), words(values(p.RecipeNames)), p.Extras, p.Initrd, words(missing))
		for _, tool := range missing {
			reasons = append(reasons, fmt.Sprintf("%s: %s: %s", p.ID, tool, p.Missing[tool]))
		}
	}
	if err := t.Flush(); err != nil || len(reasons) == 0 {
		return err
	}
	_, err := fmt.Fprintf(out, "\nMissing tools:\n  %s\n", strings.Join(reasons, "\n  "))
	return err
}

// words joins what goes into one column, which must not be empty lest the next one looks like it.
func words(of []string) string {
	if len(of) == 0 {
		return "-"
	}
	return strings.Join(of, " ")
}

// String prints the names of the recipes.
func (e *Extras) String() string {
	if e == nil {
		return "-"
	}
	return words(values(e.RecipeNames))
}

// String prints the content of the image for an initramfs.
func (i *Initrd) String() string {
	switch {
	case i == nil:
		return "-"
	case len(i.RecipeNames) == 0:
		return "all"
	}
	return words(values(i.RecipeNames))
}

func arches(of []arch.Arch) []string {
	var names []string
	for _, a := range of {
		names = append(names, string(a))
	}
	return names
}
