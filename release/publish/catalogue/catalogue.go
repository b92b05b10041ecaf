// Package catalogue makes the project's web page: all platforms and recipes, with the report and the proofs of a release.
//
// In go the definitions of a checkout and a finished release, out comes a directory with index.html and copies of what it links to. Nothing
// in it asks for another server.
package catalogue

import (
	_ "embed" // the template
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

var (
	//go:embed page.html.tmpl
	pageText string
	page     = template.Must(template.New("catalogue").Parse(pageText))
)

// content is what the template shows.
type content struct {
	*manifest.Manifest
	Report  string
	Proofs  []proven
	Clouds  []cloud
	Recipes []tool
}

type proven struct {
	Title, File string
	*proof.Proof
}

type cloud struct {
	*platform.Platform
	Held, Asserted int // in the release's machine of it
}

type tool struct {
	*recipe.Recipe
	Clouds []string // ids of those that have it, or may have
}

// Write makes the page in a directory, of the definitions in a checkout and the release in another directory.
func Write(dir, checkout, release string) error {
	c, err := read(checkout, release)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	files := []string{c.Report}
	for _, p := range c.Proofs {
		files = append(files, p.File)
	}
	for _, name := range files {
		file, err := os.ReadFile(filepath.Join(release, name))
		if err != nil {
			return err
		}
		if err := atomicfile.WriteBytes(filepath.Join(dir, name), 0o644, file); err != nil {
			return err
		}
	}
	return atomicfile.Write(filepath.Join(dir, "index.html"), 0o644, func(out io.Writer) error { return page.Execute(out, c) })
}

func read(checkout, release string) (*content, error) {
	m, err := manifest.Read(release)
	if err != nil {
		return nil, err
	}
	c := &content{Manifest: m, Report: manifest.ReportFile}
	if c.Proofs, err = proofs(release); err != nil {
		return nil, err
	}
	platforms, recipes, err := definition.All(rooted.Files(checkout))
	if err != nil {
		return nil, err
	}
	having := map[string][]string{}
	for _, p := range platforms {
		one := cloud{Platform: p}
		for _, proven := range c.Proofs {
			for _, machine := range proven.Machines {
				if proven.File == verify.ProofName && machine.Platform == p.ID.Value {
					one.Held, one.Asserted = len(machine.Outcomes)-machine.Faults(), len(machine.Outcomes)
				}
			}
		}
		c.Clouds = append(c.Clouds, one)
		for _, r := range p.WithExtras().Recipes {
			having[r.Name.Value] = append(having[r.Name.Value], p.ID.Value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(recipes)) {
		c.Recipes = append(c.Recipes, tool{recipes[name], having[name]})
	}
	return c, nil
}

// proofs reads those that the release has.
func proofs(release string) ([]proven, error) {
	var all []proven
	for _, kind := range verify.Proofs {
		text, err := os.ReadFile(filepath.Join(release, kind.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		p, err := proof.Decode(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind.Name, err)
		}
		all = append(all, proven{kind.Title, kind.Name, p})
	}
	return all, nil
}
