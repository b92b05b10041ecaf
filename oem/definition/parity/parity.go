// Package parity compares platforms with Flatcar's own images for them: which tools both have, and why one has what the other has not.
//
// In: the platforms of a checkout, and a list of what Flatcar's images are made of, which is in this directory. Out: rows for people
// and programs. A tool of Flatcar's that a platform lacks needs a reason in the platform's missing:; one that Flatcar's image does not
// have belongs to its extras:.
package parity

import (
	_ "embed"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
)

//go:embed flatcar.yaml
var listed []byte

const listFile = "oem/definition/parity/flatcar.yaml"

// List is what Flatcar's images are made of.
type List struct {
	Commit   string    `yaml:"commit,required"` // of github.com/flatcar/scripts
	Date     string    `yaml:"date,required"`   // of the commit
	Packages []Package `yaml:"packages,required"`
	Images   []Image   `yaml:"images,required"`
}

// Package is one of Flatcar's packages.
type Package struct {
	Name    string `yaml:"package,required"` // CATEGORY/NAME
	Version string `yaml:"version,required"`
	Recipe  string `yaml:"recipe"` // that brings the same tool; empty when none does
}

// tool is the name of a package without its category, by which a platform's missing: knows it.
func (p Package) tool() string { return path.Base(p.Name) }

// Image is Flatcar's image for one platform.
type Image struct {
	ID       string      `yaml:"id,required"`
	Arches   []arch.Arch `yaml:"arches,required"`
	Packages []string    `yaml:"packages"`
	Own      []string    `yaml:"own"` // programs and files of the metapackage itself
}

// Read returns the list.
func Read() (*List, error) {
	var l List
	mistakes := strictyaml.Decode(listFile, listed, &l)
	return &l, mistakes.Err()
}

// The kinds of rows.
const (
	Equal   = "equal"   // both have the tool
	Lacking = "lacking" // Flatcar's image has it, and a reason says why ours has not
	Extra   = "extra"   // ours has it where a profile asks for extras
	Open    = "open"    // a difference without a reason
)

// Row is one tool of one platform.
type Row struct {
	Platform string `json:"platform"`
	Tool     string `json:"tool"`
	Flatcar  string `json:"flatcar,omitempty"` // its version there
	Recipe   string `json:"recipe,omitempty"`  // that brings it here
	Kind     string `json:"kind"`
	Why      string `json:"why,omitempty"`
}

// Compare returns the rows of a platform.
func (l *List) Compare(p *platform.Platform) []Row {
	id := p.ID.Value
	at := slices.IndexFunc(l.Images, func(i Image) bool { return i.ID == id })
	if at < 0 {
		return []Row{{Platform: id, Tool: p.Image(), Kind: Extra, Why: "Flatcar has no image for it"}}
	}
	image, names := l.Images[at], recipeNames(p.Recipes)
	var rows []Row
	for _, a := range image.Arches {
		if !p.Supports(a) {
			rows = append(rows, l.lacking(p, string(a), ""))
		}
	}
	var accounted []string
	for _, name := range image.Packages {
		of := l.Packages[slices.IndexFunc(l.Packages, func(q Package) bool { return q.Name == name })]
		if of.Recipe != "" && slices.Contains(names, of.Recipe) {
			accounted = append(accounted, of.Recipe)
			rows = append(rows, Row{Platform: id, Tool: of.tool(), Flatcar: of.Version, Recipe: of.Recipe, Kind: Equal})
			continue
		}
		rows = append(rows, l.lacking(p, of.tool(), of.Version))
	}
	for _, name := range image.Own {
		rows = append(rows, l.lacking(p, name, ""))
	}
	return append(rows, additions(p, accounted)...)
}

// lacking is the row of what a platform has not.
func (l *List) lacking(p *platform.Platform, tool, version string) Row {
	row := Row{Platform: p.ID.Value, Tool: tool, Flatcar: version, Kind: Open, Why: "no recipe, and no reason in missing:"}
	if reason := p.Missing[tool]; reason != "" {
		row.Kind, row.Why = Lacking, reason
	}
	return row
}

// additions are the rows of what Flatcar's image has not. Recipes that others need are part of these.
func additions(p *platform.Platform, accounted []string) []Row {
	var rows []Row
	needed := func(r *recipe.Recipe, all []*recipe.Recipe) bool {
		return slices.ContainsFunc(all, func(other *recipe.Recipe) bool {
			return slices.ContainsFunc(other.Needs, func(name strictyaml.Text) bool { return name.Value == r.Name.Value })
		})
	}
	add := func(r *recipe.Recipe, all []*recipe.Recipe, kind, why string) {
		if !needed(r, all) && !slices.Contains(accounted, r.Name.Value) && !servesOne(r, accounted) {
			rows = append(rows, Row{Platform: p.ID.Value, Tool: r.Name.Value, Recipe: r.Name.Value, Kind: kind, Why: why})
		}
	}
	for _, r := range p.Recipes {
		add(r, p.Recipes, Open, "Flatcar's image has it not; move it to extras:")
	}
	if p.Extras == nil {
		return rows
	}
	for _, r := range p.Extras.Recipes {
		if !slices.Contains(p.Recipes, r) {
			add(r, p.Extras.Recipes, Extra, "")
		}
	}
	return rows
}

// servesOne tells whether a recipe only configures a tool that both have: chrony-pool needs chrony.
func servesOne(r *recipe.Recipe, accounted []string) bool {
	return slices.ContainsFunc(r.Needs, func(name strictyaml.Text) bool {
		return slices.Contains(accounted, name.Value) && strings.HasPrefix(r.Name.Value, name.Value+"-")
	})
}

func recipeNames(recipes []*recipe.Recipe) []string {
	var names []string
	for _, r := range recipes {
		names = append(names, r.Name.Value)
	}
	return names
}
