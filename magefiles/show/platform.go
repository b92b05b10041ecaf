package show

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/table"
)

// Cloud is one platform.
type Cloud struct {
	ID        string            `json:"id"`
	Name      string            `json:"name" doc:"for people"`
	KernelID  string            `json:"kernel_id" doc:"flatcar.oem.id= on the kernel command line"`
	Arches    []string          `json:"arches"`
	Recipes   []string          `json:"recipes"`
	Extras    []string          `json:"extras,omitempty" doc:"recipes that it has where a profile asks for them"`
	Initramfs []string          `json:"initramfs,omitempty" doc:"recipes in its image for an initramfs, if it has one; all of the platform's are named"`
	Missing   map[string]string `json:"missing" doc:"tools that are not to be had, with the reason"`
	initramfs string
}

// Platforms prints a table of platforms, followed by the reasons for missing tools.
func Platforms(out Output, platforms []*platform.Platform) error {
	clouds := []Cloud{}
	for _, p := range platforms {
		c := Cloud{ID: p.ID.Value, Name: p.Name, KernelID: p.KernelID.Value, Recipes: values(p.RecipeNames), Missing: p.Missing, initramfs: "-"}
		if p.Extras != nil {
			c.Extras = values(p.Extras.RecipeNames)
		}
		if c.Missing == nil {
			c.Missing = map[string]string{} // an object for programs, too
		}
		for _, a := range p.Arches {
			c.Arches = append(c.Arches, string(a))
		}
		if i := p.Initrd; i != nil && len(i.RecipeNames) == 0 {
			c.Initramfs, c.initramfs = c.Recipes, "all"
		} else if i != nil {
			c.Initramfs = values(i.RecipeNames)
			c.initramfs = words(c.Initramfs)
		}
		clouds = append(clouds, c)
	}
	return out.answer(clouds, func() error { return writeClouds(out, clouds) })
}

func writeClouds(out io.Writer, clouds []Cloud) error {
	t := table.New(out, "ID", "NAME", "KERNEL ID", "ARCHITECTURES", "RECIPES", "EXTRAS", "INITRAMFS", "MISSING")
	var reasons []string
	for _, c := range clouds {
		missing := slices.Sorted(maps.Keys(c.Missing))
		t.Row(c.ID, c.Name, c.KernelID, words(c.Arches), words(c.Recipes), words(c.Extras), c.initramfs, words(missing))
		for _, tool := range missing {
			reasons = append(reasons, fmt.Sprintf("%s: %s: %s", c.ID, tool, c.Missing[tool]))
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

func values(texts []strictyaml.Text) []string {
	found := []string{}
	for _, text := range texts {
		found = append(found, text.Value)
	}
	return found
}
