package platform

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/near"
)

// checker finds mistakes in one platform that strictyaml cannot see.
type checker struct {
	platform *Platform
	mistakes strictyaml.Mistakes
}

func (c *checker) add(line strictyaml.Line, format string, args ...any) {
	c.mistakes = append(c.mistakes, strictyaml.Mistake{File: c.platform.File, Line: max(line, 1), Text: fmt.Sprintf(format, args...)})
}

// Ids become file names and part of the kernel command line.
var validID = regexp.MustCompile(`^[a-z0-9]+$`)

// CheckID refuses text that cannot be a platform's id.
func CheckID(id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("platform %q; wanted lower case letters and digits", id)
	}
	return nil
}

func (c *checker) check(recipes recipe.Set) {
	p := c.platform
	id := strings.TrimSuffix(path.Base(p.File), ".yaml")
	if p.ID.Line > 0 && p.ID.Value != id {
		c.add(p.ID.Line, "id %q; wanted %q, like the file name", p.ID, id)
	}
	if err := CheckID(id); err != nil {
		c.add(p.ID.Line, "%v", err)
	}
	if p.KernelID.Line > 0 && !validID.MatchString(p.KernelID.Value) {
		c.add(p.KernelID.Line, "kernel_id %q; wanted lower case letters and digits", p.KernelID)
	}
	p.Recipes = c.recipes(id, p.RecipeNames, recipes)
	if p.Extras != nil {
		p.Extras.Recipes = c.recipes(id, slices.Concat(p.RecipeNames, p.Extras.RecipeNames), recipes)
	}
	if p.Initrd != nil {
		if p.Initrd.Recipes = p.Recipes; len(p.Initrd.RecipeNames) > 0 {
			p.Initrd.Recipes = c.recipes(id, p.Initrd.RecipeNames, recipes)
		}
		recipe.CheckModules(p.Initrd.Modules, c.add)
	}
	c.detection()
	c.texts()
}

// recipes returns the named recipes and what they need.
func (c *checker) recipes(id string, wanted []strictyaml.Text, recipes recipe.Set) []*recipe.Recipe {
	var names []string
	for _, name := range wanted {
		r := recipes[name.Value]
		if r == nil {
			c.add(name.Line, "%s uses %q, which is not a recipe; %s", id, name, near.Wanted(name.Value, slices.Sorted(maps.Keys(recipes))))
			continue
		}
		if slices.Contains(names, name.Value) {
			c.add(name.Line, "%s uses %q twice; wanted once", id, name)
			continue
		}
		for _, a := range c.platform.Arches {
			if !r.Supports(a) && len(r.Arches) > 0 { // else its own mistake says it
				c.add(name.Line, "%s is for %s, but %s is not (%s)", id, a, name, r.File)
			}
		}
		names = append(names, name.Value)
	}
	return recipes.With(names...)
}

func (c *checker) detection() {
	p := c.platform
	if len(p.Detect) == 0 && len(p.AmbiguousWith) == 0 {
		c.add(p.ID.Line, "no rules to detect a machine; wanted detect:, or ambiguous_with: and the platform that it looks like")
	}
	for _, rule := range p.Detect {
		if rule.Empty() {
			c.add(rule.Line, "a rule without conditions; wanted dmi, virt, kernel_argument, disk_label or hypervisor")
		}
	}
}

// texts checks for values that would break a kernel command line or a table.
func (c *checker) texts() {
	p := c.platform
	for _, argument := range slices.Concat(p.KernelArguments.All, p.KernelArguments.AMD64, p.KernelArguments.ARM64) {
		if len(strings.Fields(argument)) != 1 {
			c.add(p.ID.Line, "kernel_arguments: %q; wanted one word each, such as console=ttyS0", argument)
		}
		if strings.HasPrefix(argument, "flatcar.oem.id=") {
			c.add(p.ID.Line, "kernel_arguments: %q; set kernel_id instead", argument)
		}
	}
	for _, tool := range slices.Sorted(maps.Keys(p.Missing)) {
		reason := p.Missing[tool]
		if strings.TrimSpace(reason) == "" || strings.ContainsAny(tool+reason, "\n\t") {
			c.add(p.ID.Line, "missing: %s: %q; wanted the reason in one line", tool, reason)
		}
	}
}

// checkOthers finds contradictions between platforms.
func (c *checker) checkOthers(all []*Platform) {
	p := c.platform
	for key, texts := range map[string][]strictyaml.Text{"detect_before": p.DetectBefore, "ambiguous_with": p.AmbiguousWith} {
		for _, text := range texts {
			if text.Value == p.ID.Value || find(all, text.Value) == nil {
				c.add(text.Line, "%s: %q is not another platform's id; %s", key, text, near.Wanted(text.Value, c.others(all)))
			}
		}
	}
	for _, other := range p.DetectBefore {
		if o := find(all, other.Value); o != nil && slices.Contains(values(o.DetectBefore), p.ID.Value) {
			c.add(other.Line, "detect_before: %s and %s are each before the other; remove one", p.ID, other)
		}
	}
	named := ByKernelID(all, p.KernelID.Value)
	if p.KernelID.Line == 0 || named == p {
		return
	}
	switch {
	case named.ID.Value != p.KernelID.Value:
		c.add(p.KernelID.Line, "kernel_id %s is also that of %s (%s); one of the two needs it as its id, to be the one it stands for",
			p.KernelID, named.ID, named.File)
	case !slices.Contains(values(p.AmbiguousWith), named.ID.Value):
		c.add(p.KernelID.Line, "kernel_id %s is that of %s (%s), whose machines this platform's are taken for; wanted another one, or ambiguous_with: [%s]",
			p.KernelID, named.ID, named.File, named.ID)
	}
	if p.Initrd != nil && p.Initrd.SecondStage {
		c.add(p.KernelID.Line, "initrd: second_stage: kernel_id %s stands for %s (%s), whose machines would merge this image as well; remove second_stage",
			p.KernelID, named.ID, named.File)
	}
}

// others are the ids of the other platforms.
func (c *checker) others(all []*Platform) []string {
	var ids []string
	for _, p := range all {
		if p != c.platform {
			ids = append(ids, p.ID.Value)
		}
	}
	return ids
}

func find(all []*Platform, id string) *Platform {
	at := slices.IndexFunc(all, func(p *Platform) bool { return p.ID.Value == id })
	if at < 0 {
		return nil
	}
	return all[at]
}
