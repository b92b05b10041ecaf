package boot

import (
	"fmt"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// Expect returns what a release promises of a platform's machines.
func Expect(m *manifest.Manifest, p *platform.Platform) (Expectation, error) {
	at := slices.IndexFunc(m.Platforms, func(known manifest.Platform) bool { return known.ID == p.ID.Value })
	if at < 0 {
		return Expectation{}, fmt.Errorf("the release has no platform %s", p.ID.Value)
	}
	if !m.Platforms[at].Placement.Embedded() {
		return Expectation{}, fmt.Errorf("the release does not embed the images of %s", p.ID.Value)
	}
	return expect(m, p, slices.Clone(m.Platforms[at].Activates)), nil
}

// ExpectNothing returns what a release promises of machines of a platform that it has no images for: that they come up without.
func ExpectNothing(m *manifest.Manifest, p *platform.Platform) Expectation {
	e := expect(m, p, nil)
	e.Reason = "nothing linked: this release has no images for " + p.ID.Value
	e.Requires, e.Units, e.Works = nil, nil, nil
	return e
}

func expect(m *manifest.Manifest, p *platform.Platform, images []string) Expectation {
	e := Expectation{VersionID: m.Base.VersionID, Reason: "ID=" + p.ID.Value + " in /oem/oem-release", Images: images}
	e.extensions(m.Extensions, p.ID.Value)
	own := map[string]bool{}
	for _, image := range m.Images {
		if slices.Contains(e.Images, image.Name) {
			for _, content := range image.Contents {
				own[content.Path] = true
				if content.Target == "" {
					e.Files = append(e.Files, content.Path)
				}
			}
		}
	}
	foreign := map[string]bool{}
	for _, image := range m.Images {
		for _, content := range image.Contents {
			if image.Embedded != "" && !own[content.Path] && !foreign[content.Path] {
				foreign[content.Path] = true
				e.Foreign = append(e.Foreign, content.Path)
			}
		}
	}
	for _, x := range m.Extensions {
		for _, content := range x.Contents { // which no other platform has to itself
			own[content.Path] = true
		}
	}
	e.Foreign = slices.DeleteFunc(e.Foreign, func(path string) bool { return own[path] })
	var made manifest.Platform // zero if the release has nothing for the platform
	if at := slices.IndexFunc(m.Platforms, func(q manifest.Platform) bool { return q.ID == p.ID.Value }); at >= 0 {
		made = m.Platforms[at]
	}
	switch {
	case made.Origin != "":
		return e // its definition speaks of recipes
	case p.HasExtras(made.Recipes):
		p = p.WithExtras()
	}
	e.Works = p.Commands()
	for _, unit := range p.ActiveUnits {
		e.Units = append(e.Units, unit.Value)
	}
	for _, recipe := range p.Recipes {
		for _, path := range recipe.Requires {
			e.Requires = append(e.Requires, string(path))
		}
	}
	return e
}

// extensions adds what a platform's machines have of the extensions when their users say nothing.
func (e *Expectation) extensions(all []manifest.Extension, platform string) {
	e.Lying = map[string]string{}
	for _, x := range all {
		versions := slices.ContainsFunc(all, func(o manifest.Extension) bool { return o.Name == x.Name && o.Version != x.Version })
		switch {
		case x.Embedded == "":
			e.Flattened = append(e.Flattened, x.Name)
		case versions && !x.Default:
		case x.Enable == "always", slices.Contains(x.Platforms, platform):
			e.Images, e.Lying[x.Name] = append(e.Images, x.Name), x.Embedded
		}
	}
}
