package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/oem/image/fit"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/image/rung"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/plan/compose"
	"github.com/flatcar/oem-sysext/release/plan/signed"
)

// Image is a packed layer and where it goes.
type Image struct {
	oem.Layer
	Packed    signed.Image
	Placement budget.Placement
	Cost      size.Bytes // of /usr; zero when it is not embedded
	Read      int64      // microseconds
}

// File is the image's name in a release and in /usr.
func (i Image) File() string { return i.Name + ".raw" }

// Embedded is the image as the partition gets it.
func (i Image) Embedded() embed.Image {
	return embed.Image{Name: i.File(), SHA256: i.Packed.SHA256, Size: i.Packed.Size}
}

// WholeImage returns an image with all of a platform's tools, to embed without a plan.
func WholeImage(i oem.Image, packed signed.Image) Image {
	l := oem.Layer{Name: i.Platform.Image(), Platforms: []string{i.Platform.ID.Value}, Tree: i.Tree}
	return Image{Layer: l, Packed: packed, Placement: budget.InUsr}
}

// Extension is an extension beside the OEM tools, packed unless it is flattened.
type Extension struct {
	*compose.Extension
	Packed signed.Image
	Cost   size.Bytes
}

// given is the input of a search.
type given struct {
	tools
	others []*compose.Extension
	empty  partition.Partition // of the base
	flat   partition.Partition
	early  earlyImages
}

// search is the state of one search for a plan.
type search struct {
	*Planner
	given
	factory *oem.Factory
	ladder  []rung.Rung
	planner *fit.Planner
	items   []item
	scale   *scale
}

// item is one image of the search, with its options.
type item struct {
	fit.Item
	layers []oem.Layer        // by option
	other  *compose.Extension // nil for OEM tools
	asIs   *signed.Image      // the image that it came as, if that is not packed anew
}

func (p *Planner) newSearch(ctx context.Context, factory *oem.Factory, g given) (*search, error) {
	calibration, err := fit.LoadCalibration()
	if err != nil {
		return nil, err
	}
	s := &search{Planner: p, given: g, factory: factory}
	if s.ladder, err = p.ladder(ctx); err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(s.ladder, func(r rung.Rung) bool { return !calibration.Has(r) }); i >= 0 {
		return nil, fmt.Errorf("%s has no rung %v; run scripts/mage fit:calibrate to measure it", fit.CalibrationFile, s.ladder[i])
	}
	if s.items, err = s.makeItems(); err != nil {
		return nil, err
	}
	if s.scale, err = p.newScale(ctx); err != nil {
		return nil, err
	}
	s.planner = &fit.Planner{Calibration: calibration, OEM: p.Choice.Layout.OEMPartition.Bytes, Jobs: p.Bench.Jobs, Measure: s.measure}
	s.planner.Budgets, err = s.sharedBudgets()
	return s, err
}

// ladder returns the rungs that the base's kernel can mount and the tool root can make.
func (p *Planner) ladder(ctx context.Context) ([]rung.Rung, error) {
	writers, err := store.Memo(ctx, p.Bench.Results.Step("writers", p.Bench.Tools.Versions(pack.Tools...)), store.Nothing, func() (pack.Writers, error) {
		return pack.Detect(ctx, p.Bench.Tools)
	})
	return pack.Ladder(p.Base.Arch, p.Base.Target.Kernel, writers), err
}

// plan packs the given images so that they fit.
func (s *search) plan(ctx context.Context) (*Planned, error) {
	found, err := s.solve(ctx)
	if err != nil {
		return nil, err
	}
	planned := &Planned{Staged: s.staged, Empty: s.empty, Flat: s.flat, Initrds: s.early.made, search: s, options: found}
	if planned.Images, planned.Extensions, err = s.chosen(ctx, found); err != nil {
		return nil, err
	}
	if planned.Whole, err = s.whole(ctx, planned.Images); err != nil {
		return nil, err
	}
	if s.Keys.Image != nil {
		if err := s.Keys.Image.Finish(); err != nil {
			return nil, err
		}
	}
	others, err := s.otherBudgets(planned.Whole)
	planned.Budgets = slices.Concat(found.Budgets, others)
	return planned, err
}

func (s *search) solve(ctx context.Context) (fit.Plan, error) {
	step := s.Bench.Progress.Items("images measured", 0)
	defer step.End()
	counting := *s.planner
	counting.Measure = func(ctx context.Context, item, option int) (fit.Taken, error) {
		defer step.Add(1)
		defer step.On(s.items[item].Name)()
		return s.measure(ctx, item, option)
	}
	found, err := counting.Plan(ctx, s.fitItems())
	if over := (*fit.OverBudgetError)(nil); errors.As(err, &over) {
		return found, s.overUsr(over)
	}
	if large := (*fit.TooLargeError)(nil); errors.As(err, &large) {
		return found, s.over(err)
	}
	return found, err
}

func (s *search) fitItems() []fit.Item {
	items := make([]fit.Item, len(s.items))
	for i := range s.items {
		items[i] = s.items[i].Item
	}
	return items
}

// makeItems makes an item for each platform, shared layer and extension.
func (s *search) makeItems() ([]item, error) {
	var inUsr []oem.Staged
	for _, staged := range s.staged {
		id := staged.Platform.ID.Value
		if slices.Contains(s.Choice.Profile.Of(id), budget.InUsr) && s.originals[id] == nil {
			inUsr = append(inUsr, staged)
		}
	}
	layers, err := s.factory.Layers(inUsr, int(s.Choice.Profile.MaxImages))
	if err != nil {
		return nil, err
	}
	own := map[string]oem.Layer{}
	for _, l := range layers[:len(inUsr)] {
		own[l.Name] = l
	}
	var items []item
	for _, staged := range s.staged {
		items = append(items, s.platformItem(staged, own))
	}
	for _, l := range layers[len(inUsr):] {
		items = append(items, item{
			Item:   fit.Item{Name: l.Name, Activations: len(l.Platforms), Options: s.optionsOf(l, budget.InUsr, false)},
			layers: slices.Repeat([]oem.Layer{l}, len(s.ladder)),
		})
	}
	for _, x := range s.others {
		if !x.Flatten {
			items = append(items, s.extensionItem(x))
		}
	}
	return items, nil
}

// platformItem has one option for each rung at each place that the profile allows.
func (s *search) platformItem(staged oem.Staged, own map[string]oem.Layer) item {
	id := staged.Platform.ID.Value
	whole := oem.Layer{Name: staged.Platform.Image(), Platforms: []string{id}, Tree: staged.Tree}
	it := item{Item: fit.Item{Name: whole.Name, Activations: 1}, asIs: s.originals[id]}
	for n, place := range s.Choice.Profile.Of(id) {
		if it.asIs != nil {
			it.Options = append(it.Options, fit.Option{Placement: place, Unpacked: whole.Tree.Size(), Demoted: n > 0})
			it.layers = append(it.layers, whole)
			continue
		}
		l := whole
		if place == budget.InUsr {
			l = own[whole.Name]
		}
		it.Options = append(it.Options, s.optionsOf(l, place, n > 0)...)
		it.layers = append(it.layers, slices.Repeat([]oem.Layer{l}, len(s.ladder))...)
	}
	return it
}

// extensionItem has a single option if the extension is embedded unchanged.
func (s *search) extensionItem(x *compose.Extension) item {
	l := oem.Layer{Name: strings.TrimSuffix(x.File, ".raw"), Tree: x.Tree}
	it := item{Item: fit.Item{Name: l.Name, Activations: 1}, other: x}
	if x.AsIs {
		it.asIs, it.Options = &x.Original, []fit.Option{{Placement: budget.InUsr, Unpacked: l.Tree.Size()}}
	} else {
		it.Options = s.optionsOf(l, budget.InUsr, false)
	}
	it.layers = slices.Repeat([]oem.Layer{l}, len(it.Options))
	return it
}

func (s *search) optionsOf(l oem.Layer, place budget.Placement, demoted bool) []fit.Option {
	var options []fit.Option
	for _, rung := range s.ladder {
		options = append(options, fit.Option{Rung: rung, Placement: place, Unpacked: l.Tree.Size(), Demoted: demoted})
	}
	return options
}

// measure packs one option of an item and measures its cost in a file system like the base's.
func (s *search) measure(ctx context.Context, i, option int) (fit.Taken, error) {
	it := s.items[i]
	if it.asIs != nil {
		return fit.Taken{Size: it.asIs.Size, Cost: upperBound(it.asIs.Size)}, nil
	}
	made, err := s.pack(ctx, it, option, s.Keys.Measure)
	if err != nil {
		return fit.Taken{}, fmt.Errorf("%s: %w", it.Name, err)
	}
	cost, err := s.scale.cost(ctx, made.Image)
	return fit.Taken{Size: made.Size, Cost: cost}, err
}

// pack makes the image of one option, and signs it if there is a key. What came as an image stays as it is.
func (s *search) pack(ctx context.Context, it item, option int, key *sign.Signer) (signed.Image, error) {
	if it.asIs != nil {
		return *it.asIs, nil
	}
	packed, err := s.factory.Packer.Image(ctx, it.layers[option].Tree, it.Options[option].Rung)
	if err != nil {
		return signed.Image{}, err
	}
	return signed.Maker{Bench: s.Bench, Arch: s.Base.Arch}.Image(ctx, it.Name, packed, key)
}

// block is the unit in which a file system hands out its space.
const block = 4 * size.KiB

// upperBound is the cost of a file in /usr if btrfs cannot compress it: its blocks, and about 1/500 for checksums and
// extents. Measuring a ready-made image would take as long as embedding it, for little more precision.
func upperBound(n size.Bytes) size.Bytes {
	blocks := (n + block - 1) / block * block
	return blocks + blocks/500 + 4*block
}

// chosen returns the images and extensions of a plan. Shared images do not list platforms that are not embedded.
func (s *search) chosen(ctx context.Context, plan fit.Plan) (images []Image, others []Extension, err error) {
	elsewhere := map[string]bool{}
	packed := map[*compose.Extension]Extension{}
	for i, d := range plan.Decisions {
		it := s.items[i]
		made, err := s.pack(ctx, it, d.Option, s.Keys.Image)
		if missing := (*sign.MissingError)(nil); errors.As(err, &missing) {
			continue // one request for all missing signatures
		}
		if err != nil {
			return nil, nil, err
		}
		if it.other != nil {
			packed[it.other] = Extension{it.other, made, d.Cost}
			continue
		}
		own := Image{Layer: it.layers[d.Option], Packed: made, Placement: it.Options[d.Option].Placement, Read: d.Read}
		if own.Placement.Embedded() {
			own.Cost = d.Cost
		}
		if own.Placement != budget.InUsr {
			elsewhere[own.Platforms[0]] = true
		}
		if it.Activations != 1 {
			own.Platforms = slices.DeleteFunc(slices.Clone(own.Platforms), func(id string) bool { return elsewhere[id] })
		}
		if len(own.Platforms) > 0 {
			images = append(images, own)
		}
	}
	slices.SortFunc(images, func(a, b Image) int { return strings.Compare(a.Name, b.Name) })
	for _, x := range s.others {
		if one, decided := packed[x]; decided {
			others = append(others, one)
		} else {
			others = append(others, Extension{Extension: x})
		}
	}
	return images, others, nil
}

// whole returns an image with all tools for each platform: the one that they came as, the plan's own if that goes to the OEM
// partition, otherwise one at the rung of standalone images, as scripts/mage build makes them.
func (s *search) whole(ctx context.Context, planned []Image) ([]pack.Image, error) {
	whole := make([]pack.Image, len(s.staged))
	var anew []int // indexes of those to pack
	for i, staged := range s.staged {
		at := slices.IndexFunc(planned, func(p Image) bool { return p.Name == staged.Platform.Image() && p.Placement.Whole() })
		switch original := s.originals[staged.Platform.ID.Value]; {
		case original != nil:
			whole[i] = original.Image
		case at >= 0:
			whole[i] = planned[at].Packed.Image
		default:
			anew = append(anew, i)
		}
	}
	staged := make([]oem.Staged, len(anew))
	for n, i := range anew {
		staged[n] = s.staged[i]
	}
	built, err := s.factory.Pack(ctx, staged)
	if err != nil {
		return nil, err
	}
	for n, b := range built {
		made, err := signed.Maker{Bench: s.Bench, Arch: s.Base.Arch}.Image(ctx, b.Platform.Image(), b.Image, s.Keys.Image)
		if missing := (*sign.MissingError)(nil); errors.As(err, &missing) {
			continue
		}
		if err != nil {
			return nil, err
		}
		whole[anew[n]] = made.Image
	}
	return whole, nil
}
