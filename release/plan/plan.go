// Package plan decides what goes into a release's partition and how it is packed: OEM tools, foreign extensions and
// initramfs images, within every budget.
package plan

import (
	"context"
	"fmt"
	"slices"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/oem/image/fit"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/bases/flatcar"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/partition/integrate"
	"github.com/flatcar/oem-sysext/release/plan/compose"
	"github.com/flatcar/oem-sysext/release/plan/early"
	"github.com/flatcar/oem-sysext/release/plan/signed"
	"github.com/flatcar/oem-sysext/release/profiles"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Planned is a finished plan.
type Planned struct {
	Staged     []oem.Staged        // the platforms' trees
	Empty      partition.Partition // the base's, without images
	Flat       partition.Partition // the same with the files of flattened extensions; images are embedded in this one
	Images     []Image             // of OEM tools, by name
	Extensions []Extension         // in the order of the profile
	Whole      []pack.Image        // one per platform with all its tools, for the OEM partition
	Initrds    []manifest.Initrd   // initramfs images
	Budgets    []budget.Budget
	Content    partition.Content // to embed

	search  *search
	options fit.Plan // the option of each item of the search
}

// Planner makes plans for a choice and a base.
type Planner struct {
	Bench  *setup.Bench
	Choice *setup.Choice
	Base   *bases.Base
	Keys   *setup.Keys
}

// Plan makes the platforms' trees and the partition, and packs the images so that they fit.
// An exceeded budget is an *OverBudgetError.
func (p *Planner) Plan(ctx context.Context) (*Planned, error) {
	updates := partition.Updates{Profile: p.Choice.Profile.Update, Trusted: p.Keys.Trusted}
	factory, err := p.factory()
	if err != nil {
		return nil, err
	}
	tools, err := p.tools(ctx, factory, updates)
	if err != nil {
		return nil, err
	}
	empty, err := partition.Format(ctx, p.Bench, p.Base, updates)
	if err != nil {
		return nil, err
	}
	others, err := p.compose(ctx, factory, tools.staged, updates)
	if err != nil {
		return nil, err
	}
	flat, err := p.flatten(ctx, empty, others)
	if err != nil {
		return nil, err
	}
	content := partition.Content{Choices: compose.Choices(others), Trust: p.trust(others), Updates: updates, Integrate: p.Choice.Integrate}
	made, err := p.makeEarly(ctx, content, flat)
	if err != nil {
		return nil, err
	}
	content.Early = made.files
	search, err := p.newSearch(ctx, factory, given{tools, others, empty, flat, made})
	if err != nil {
		return nil, err
	}
	planned, err := search.plan(ctx)
	if err != nil {
		return nil, err
	}
	content.Platforms, content.Images = Activation(p.Choice.Catalogue, planned.Images), embedded(planned.Images, planned.Extensions)
	planned.Content = content
	return planned, nil
}

// factory returns the factory of images. The base must be complete.
func (p *Planner) factory() (*oem.Factory, error) {
	if p.Base.Kernel == "" {
		return nil, fmt.Errorf("the base has no kernel; put it beside the image as %s or set %s; scripts/mage build needs no kernel",
			flatcar.KernelName, flatcar.EnvKernel)
	}
	return p.Bench.Factory(p.Base.Target, p.Base.Epoch)
}

// tools are the platforms' trees, and the images that some of them came as.
type tools struct {
	staged    []oem.Staged
	originals map[string]*signed.Image // to embed byte for byte, by the platform's id
}

// tools makes the platforms' trees, from recipes or from what Flatcar published with the base.
func (p *Planner) tools(ctx context.Context, factory *oem.Factory, updates partition.Updates) (tools, error) {
	made := tools{originals: map[string]*signed.Image{}}
	var recipes, others []*platform.Platform
	for _, q := range p.Choice.Chosen {
		if p.Choice.Profile.OEM.Origin(q.ID.Value) == profiles.FromRecipes {
			recipes = append(recipes, q)
		} else {
			others = append(others, q)
		}
	}
	var published []compose.Published
	if len(others) > 0 {
		composer, err := p.composer(factory, updates)
		if err != nil {
			return made, err
		}
		if published, err = composer.Published(ctx, others); err != nil {
			return made, err
		}
	}
	defer p.Bench.Downloads.End()
	var err error
	if made.staged, err = factory.Stage(ctx, recipes); err != nil {
		return made, err
	}
	for _, one := range published {
		made.staged = append(made.staged, one.Staged)
		if one.Original != nil {
			made.originals[one.Platform.ID.Value] = one.Original
		}
	}
	order := func(s oem.Staged) int { return slices.Index(p.Choice.Chosen, s.Platform) }
	slices.SortFunc(made.staged, func(a, b oem.Staged) int { return order(a) - order(b) })
	return made, nil
}

func (p *Planner) composer(factory *oem.Factory, updates partition.Updates) (*compose.Composer, error) {
	return compose.New(p.Bench, p.Choice, p.Base, factory, p.ownPaths(updates))
}

// compose reads the extensions of the profile.
func (p *Planner) compose(ctx context.Context, factory *oem.Factory, staged []oem.Staged, updates partition.Updates) ([]*compose.Extension, error) {
	if len(p.Choice.Profile.Extensions) == 0 {
		return nil, nil
	}
	composer, err := p.composer(factory, updates)
	if err != nil {
		return nil, err
	}
	return composer.Compose(ctx, staged)
}

// ownPaths are the files and directories that the release itself adds to /usr.
func (p *Planner) ownPaths(updates partition.Updates) []string {
	own := []string{"/usr/" + embed.Dir}
	for _, f := range p.trust(nil).Files("") {
		own = append(own, "/usr/"+f.Path)
	}
	for _, name := range slices.Concat(activate.Paths(), []string{integrate.Hook}, updates.Paths()) {
		own = append(own, "/usr/"+name)
	}
	return own
}

// trust returns the certificates by which machines verify embedded images.
func (p *Planner) trust(others []*compose.Extension) partition.Trust {
	var t partition.Trust
	if p.Keys.Image != nil {
		t.Own = p.Keys.Image.Certificate()
	}
	for _, x := range others {
		if x.Trusted != nil {
			t.Others = append(t.Others, partition.Trusted{Extension: x.Name.Value, Certificate: x.Trusted})
		}
	}
	return t
}

// flatten adds the files of flattened extensions to /usr.
func (p *Planner) flatten(ctx context.Context, empty partition.Partition, others []*compose.Extension) (partition.Partition, error) {
	content, err := compose.Flat(others, p.Base)
	if err != nil || len(content.Files) == 0 {
		return empty, err
	}
	return partition.Flatten(ctx, p.Bench, p.Base, empty, content)
}

// earlyImages are the initramfs images and the files of the second stage.
type earlyImages struct {
	made  []manifest.Initrd
	files []embed.File // of the second stage
	grown int64        // bytes that they cost in /usr
}

func (p *Planner) makeEarly(ctx context.Context, content partition.Content, flat partition.Partition) (e earlyImages, err error) {
	asks := func(q *platform.Platform) bool { return q.ForInitrd() != nil }
	if !slices.ContainsFunc(p.Choice.Chosen, asks) {
		return e, nil
	}
	maker, err := p.EarlyMaker(ctx, content.Trust)
	if err != nil {
		return e, err
	}
	if e.made, err = maker.Images(ctx); err != nil {
		return e, err
	}
	if e.files, err = maker.SecondStage(e.made); err != nil || len(e.files) == 0 {
		return e, err
	}
	content.Early = e.files
	grown, err := content.Grown(ctx, p.Bench, p.Base, flat)
	e.grown = int64(grown)
	return e, err
}

// EarlyMaker returns the maker of initramfs images for the base.
func (p *Planner) EarlyMaker(ctx context.Context, trust partition.Trust) (*early.Maker, error) {
	host, err := early.Look(ctx, p.Bench, p.Base)
	return &early.Maker{Bench: p.Bench, Choice: p.Choice, Base: p.Base, Keys: p.Keys, Trust: trust, Host: host}, err
}

// Activation returns the images of each platform of a catalogue, also of platforms that are not in the release: detection
// needs the markers of all platforms, or machines of a missing one would be taken for another.
func Activation(catalogue []*platform.Platform, images []Image) []activate.Platform {
	platforms := make([]activate.Platform, len(catalogue))
	for i, p := range catalogue {
		platforms[i].Candidate = p.Candidate()
		if platform.ByKernelID(catalogue, p.KernelID.Value) == p {
			platforms[i].KernelID = p.KernelID.Value
		}
		for _, image := range images {
			switch {
			case !image.Placement.Embedded() || !slices.Contains(image.Platforms, p.ID.Value):
			case image.Name == p.Image():
				platforms[i].Images = slices.Insert(platforms[i].Images, 0, image.Name)
			default:
				platforms[i].Images = append(platforms[i].Images, image.Name)
			}
		}
	}
	return platforms
}

// embedded are the images that go into the partition.
func embedded(images []Image, others []Extension) []embed.Image {
	var all []embed.Image
	for _, i := range images {
		if i.Placement.Embedded() {
			all = append(all, i.Embedded())
		}
	}
	for _, x := range others {
		if !x.Flatten {
			all = append(all, embed.Image{Name: x.File, SHA256: x.Packed.SHA256, Size: x.Packed.Size})
		}
	}
	return all
}
