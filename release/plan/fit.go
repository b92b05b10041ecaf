package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/fit"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// image is a packed layer and where it goes.
type image struct {
	oem.Layer
	onDisk
	Placement fit.Placement
	Cost      size.Bytes // of /usr; zero when it is not embedded
	Read      int64      // microseconds
}

func (i image) file() string { return i.Name + ".raw" }

// wholeImage is an image that has all of a platform, to be embedded without a plan.
func wholeImage(i oem.Image) image {
	l := oem.Layer{Name: i.Platform.Image(), Platforms: []string{i.Platform.ID.Value}, Tree: i.Tree}
	return image{Layer: l, onDisk: onDisk{Image: i.Image}, Placement: fit.InUsr}
}

// fitting is everything that a plan is made from.
type fitting struct {
	*workshop
	ladder  []pack.Rung
	planner *fit.Planner
	items   []fit.Item
	trees   [][]oem.Layer // by item and option
	others  []*composed   // by item; nil for OEM tools
	packer  *pack.Packer
	empty   partition  // a file system without files, for measuring
	editing sync.Mutex // kernels before 6.7 do not mount two file systems of one UUID
}

// fitted is a plan, and the images that it chose.
type fitted struct {
	images  []image
	flat    partition    // where they go: with the files of flattened extensions
	whole   []pack.Image // of each platform, all that it has: what a machine keeps on its OEM partition
	budgets []fit.Budget
}

// fit packs the platforms' layers so that they fit the partition.
func (w *workshop) fit(ctx context.Context, factory *oem.Factory, staged []oem.Staged, empty partition) (fitted, error) {
	f, err := w.newFitting(ctx, factory, staged, empty)
	if err != nil {
		return fitted{}, err
	}
	step := w.Progress.Items("images measured", 0)
	defer step.End()
	f.planner.Measure = func(ctx context.Context, item, option int) (fit.Taken, error) {
		defer step.Add(1)
		return f.measure(ctx, item, option)
	}
	plan, err := f.planner.Plan(ctx, f.items)
	if over := (*fit.OverBudgetError)(nil); errors.As(err, &over) {
		return fitted{}, w.explainOver(over, staged)
	}
	if err != nil {
		return fitted{}, err
	}
	images, err := f.chosen(ctx, plan)
	if err != nil {
		return fitted{}, err
	}
	whole, err := f.whole(ctx, factory, staged, images)
	if err != nil {
		return fitted{}, err
	}
	if w.imageKey != nil {
		if err := w.imageKey.Finish(); err != nil {
			return fitted{}, err
		}
	}
	onOEM, err := w.oemBudget(staged, whole)
	if err != nil {
		return fitted{}, err
	}
	boot, err := w.bootBudgets(empty)
	return fitted{images: images, whole: whole, budgets: slices.Concat(plan.Budgets, []fit.Budget{onOEM}, boot)}, err
}

func (w *workshop) newFitting(ctx context.Context, factory *oem.Factory, staged []oem.Staged, empty partition) (*fitting, error) {
	calibration, err := fit.LoadCalibration()
	if err != nil {
		return nil, err
	}
	f := &fitting{workshop: w, packer: factory.Packer}
	f.ladder, err = w.ladder(ctx)
	if err != nil {
		return nil, err
	}
	f.ladder = slices.DeleteFunc(f.ladder, func(r pack.Rung) bool { return !calibration.Has(r) })
	if !slices.Contains(f.ladder, pack.Default) {
		return nil, fmt.Errorf("%s has no %v, which all others are compared with; run scripts/mage fit:calibrate", fit.CalibrationFile, pack.Default)
	}
	if err := f.addItems(factory, staged); err != nil {
		return nil, err
	}
	if f.empty, err = w.emptyPartition(ctx); err != nil {
		return nil, err
	}
	f.planner = &fit.Planner{
		Calibration: calibration, OEM: w.layout.OEMPartition.Bytes, Jobs: w.Jobs, Measure: f.measure,
	}
	f.planner.Budgets, err = w.sharedBudgets(empty)
	return f, err
}

// ladder returns the rungs that the base's kernel reads and the tool root makes.
func (w *workshop) ladder(ctx context.Context) ([]pack.Rung, error) {
	writers, err := store.Memo(ctx, w.results, "writers", w.tools.Versions(pack.Tools...), store.Nothing, func() (pack.Writers, error) {
		return pack.Detect(ctx, w.tools)
	})
	return pack.Ladder(w.Arch, w.target.Kernel, writers), err
}

// addItems makes an item of each platform and of each shared layer.
func (f *fitting) addItems(factory *oem.Factory, staged []oem.Staged) error {
	var inUsr []oem.Staged
	for _, s := range staged {
		if slices.Contains(f.profile.Of(s.Platform.ID.Value), fit.InUsr) {
			inUsr = append(inUsr, s)
		}
	}
	layers, err := factory.Layers(inUsr, int(f.profile.MaxImages))
	if err != nil {
		return err
	}
	own := map[string]oem.Layer{}
	for _, l := range layers[:len(inUsr)] {
		own[l.Name] = l
	}
	for _, s := range staged {
		id := s.Platform.ID.Value
		whole := oem.Layer{Name: s.Platform.Image(), Platforms: []string{id}, Tree: s.Tree}
		item := fit.Item{Name: whole.Name, Activations: 1}
		var trees []oem.Layer
		for n, place := range f.profile.Of(id) {
			l := whole
			if place == fit.InUsr {
				l = own[whole.Name]
			}
			item.Options = append(item.Options, f.options(l, place, n > 0)...)
			trees = append(trees, slices.Repeat([]oem.Layer{l}, len(f.ladder))...)
		}
		f.items, f.trees = append(f.items, item), append(f.trees, trees)
	}
	for _, l := range layers[len(inUsr):] {
		item := fit.Item{Name: l.Name, Activations: len(l.Platforms), Options: f.options(l, fit.InUsr, false)}
		f.items, f.trees = append(f.items, item), append(f.trees, slices.Repeat([]oem.Layer{l}, len(f.ladder)))
	}
	f.others = make([]*composed, len(f.items))
	f.addExtensions()
	return nil
}

// addExtensions makes an item of each extension. One that is embedded as it came has one option.
func (f *fitting) addExtensions() {
	for _, x := range f.extensions {
		if x.Flatten {
			continue
		}
		l := oem.Layer{Name: strings.TrimSuffix(x.File, ".raw"), Tree: x.Tree}
		item := fit.Item{Name: l.Name, Activations: 1, Options: []fit.Option{{Placement: fit.InUsr, Unpacked: l.Tree.Size()}}}
		if !x.AsIs {
			item.Options = f.options(l, fit.InUsr, false)
		}
		f.items, f.trees = append(f.items, item), append(f.trees, slices.Repeat([]oem.Layer{l}, len(item.Options)))
		f.others = append(f.others, x)
	}
}

func (f *fitting) options(l oem.Layer, place fit.Placement, demoted bool) []fit.Option {
	var options []fit.Option
	for _, rung := range f.ladder {
		options = append(options, fit.Option{Rung: rung, Placement: place, Unpacked: l.Tree.Size(), Demoted: demoted})
	}
	return options
}

// sharedBudgets are those that all embedded images count in.
func (w *workshop) sharedBudgets(empty partition) ([]fit.Budget, error) {
	before := btrfs.FlatcarFilesystem - empty.Free + w.earlySize
	kernel, err := os.Stat(w.base.Kernel)
	if err != nil {
		return nil, err
	}
	// The payload is at most as long as what is in use: the file system's, dm-verity's and the kernel's bytes.
	sent := before + w.layout.Payload.Bytes - btrfs.FlatcarFilesystem + size.Bytes(kernel.Size())
	return []fit.Budget{
		{Name: "images", Limit: w.profile.Images.Bytes, Used: w.flattened, Fixed: w.flattened},
		{Name: "usr", Limit: w.layout.Filesystem.Bytes - w.profile.Headroom.Bytes, Used: before, Fixed: before},
		{Name: "payload", Limit: w.layout.Payload.Bytes, Used: sent, Fixed: sent},
	}, nil
}

// bootBudgets are what kernel and initramfs take of what machines have for them, and what a machine that boots from the network has
// in memory before anything runs: kernel, initramfs and /usr. That /usr is in a squashfs then, which takes about what it takes here.
// Images for initramfs count in both.
func (w *workshop) bootBudgets(empty partition) ([]fit.Budget, error) {
	b := fit.Budget{Name: "kernel and initramfs", Limit: w.layout.Boot.Bytes}
	for _, file := range []string{w.base.Kernel, w.base.Initrd} {
		if file == "" {
			continue // the kernel holds the initramfs
		}
		info, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		b.Used += size.Bytes(info.Size())
	}
	if b.Fixed = b.Used; b.Left() < 0 {
		return nil, fmt.Errorf("kernel and initramfs of the base take %v, and the layout has room for %v; see %s", b.Used, b.Limit, layoutsFile)
	}
	memory := fit.Budget{Name: "memory for a network boot", Limit: w.layout.NetworkBoot.Bytes, Used: b.Used + btrfs.FlatcarFilesystem - empty.Free}
	memory.Fixed = memory.Used
	return []fit.Budget{b, memory}, nil
}

// whole returns an image of each platform that has all of it: the plan's own where that is for the OEM partition, and
// elsewhere one at the rung of images without a plan, as scripts/mage build makes them.
func (f *fitting) whole(ctx context.Context, factory *oem.Factory, staged []oem.Staged, planned []image) ([]pack.Image, error) {
	built, err := factory.Pack(ctx, staged)
	whole := make([]pack.Image, len(built))
	for i, b := range built {
		for _, p := range planned {
			if p.Name == b.Platform.Image() && p.Placement.Whole() {
				whole[i] = p.Image
			}
		}
		if (whole[i] != pack.Image{}) {
			continue
		}
		made, err := f.signImage(ctx, b.Platform.Image(), b.Image, f.imageKey)
		if missing := (*sign.MissingError)(nil); errors.As(err, &missing) {
			continue
		}
		if err != nil {
			return nil, err
		}
		whole[i] = made.Image
	}
	return whole, err
}

// oemBudget is what the largest image takes of the OEM partition. Each machine has one of them.
func (w *workshop) oemBudget(staged []oem.Staged, whole []pack.Image) (fit.Budget, error) {
	b := fit.Budget{Name: "OEM partition", Limit: w.layout.OEMPartition.Bytes}
	var over []error
	for i, image := range whole {
		b.Used = max(b.Used, image.Size)
		if image.Size > b.Limit {
			over = append(over, fmt.Errorf("all of %s takes %v, and the OEM partition has %v; see %s",
				staged[i].Platform.Image(), image.Size, b.Limit, layoutsFile))
		}
	}
	return b, errors.Join(over...)
}

// measure packs one option of an item, and measures what the image takes of a file system like the base's.
func (f *fitting) measure(ctx context.Context, item, option int) (fit.Taken, error) {
	choice := f.items[item].Options[option]
	if x := f.others[item]; x != nil && x.AsIs {
		return fit.Taken{Size: x.Size, Cost: atMost(x.Size)}, nil
	}
	packed, err := f.packer.Image(ctx, f.trees[item][option].Tree, choice.Rung)
	if err != nil {
		return fit.Taken{}, fmt.Errorf("%s: %w", f.items[item].Name, err)
	}
	made, err := f.signImage(ctx, f.items[item].Name, packed, f.measureKey)
	if err != nil {
		return fit.Taken{}, fmt.Errorf("%s: %w", f.items[item].Name, err)
	}
	cost, err := f.cost(ctx, made.Image)
	return fit.Taken{Size: made.Size, Cost: cost}, err
}

// atMost is what a file takes of /usr if btrfs finds nothing to compress in it: its blocks, and about a part in 500 for their sums
// and extents. Measuring what others packed would take as long as embedding it, and show little else.
func atMost(n size.Bytes) size.Bytes {
	const block = 4 * size.KiB
	blocks := (n + block - 1) / block * block
	return blocks + blocks/500 + 4*block
}

// chosen returns the images of a plan, shared ones without platforms that went elsewhere.
func (f *fitting) chosen(ctx context.Context, plan fit.Plan) ([]image, error) {
	var images []image
	elsewhere := map[string]bool{}
	for i, d := range plan.Decisions {
		option, l := f.items[i].Options[d.Option], f.trees[i][d.Option]
		if x := f.others[i]; x != nil && x.AsIs {
			x.Cost = d.Cost
			continue
		}
		packed, err := f.packer.Image(ctx, l.Tree, option.Rung)
		if err != nil {
			return nil, err
		}
		made, err := f.signImage(ctx, l.Name, packed, f.imageKey)
		if missing := (*sign.MissingError)(nil); errors.As(err, &missing) {
			continue // all that are missing are asked for at once
		}
		if err != nil {
			return nil, err
		}
		if x := f.others[i]; x != nil {
			x.onDisk, x.Cost = made, d.Cost
			continue
		}
		own := image{Layer: l, onDisk: made, Placement: option.Placement, Read: d.Read}
		if option.Placement.Embedded() {
			own.Cost = d.Cost
		}
		if option.Placement != fit.InUsr {
			elsewhere[l.Platforms[0]] = true
		}
		if f.items[i].Activations != 1 {
			own.Platforms = slices.DeleteFunc(slices.Clone(l.Platforms), func(id string) bool { return elsewhere[id] })
		}
		if len(own.Platforms) > 0 {
			images = append(images, own)
		}
	}
	slices.SortFunc(images, func(a, b image) int { return strings.Compare(a.Name, b.Name) })
	return images, nil
}

// cost returns by how much an image lessens what an empty file system, made as the base's is, has free.
func (f *fitting) cost(ctx context.Context, packed pack.Image) (size.Bytes, error) {
	inputs := []any{f.empty.SHA256, packed.SHA256, compressorVersion()}
	return store.Memo(ctx, f.results, "cost", inputs, store.Nothing, func() (size.Bytes, error) {
		f.editing.Lock()
		defer f.editing.Unlock()
		dir, err := os.MkdirTemp(f.scratch.Dir, "cost.")
		if err != nil {
			return 0, err
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "usr.bin")
		list := []embed.Image{{Name: "image.raw", SHA256: packed.SHA256, Size: packed.Size}}
		if err := (embed.Content{Images: list}).Into(ctx, f.blobs.Path(f.empty.SHA256), path, f.blobs, f.Epoch); err != nil {
			return 0, err
		}
		free, err := btrfs.Free(ctx, path)
		return f.empty.Free - free, err
	})
}

// emptyPartition has a file system without files, but for the directory that images go to.
func (w *workshop) emptyPartition(ctx context.Context) (partition, error) {
	inputs := []any{time.Unix(0, 0), w.tools.Versions(btrfsTools...), compressorVersion()}
	return store.Memo(ctx, w.results, "empty", inputs, partition.blobs, func() (partition, error) {
		return w.makePartition(ctx, func(path string) error {
			source, err := os.MkdirTemp(w.scratch.Dir, "empty.")
			if err != nil {
				return err
			}
			defer os.RemoveAll(source)
			if err := os.MkdirAll(filepath.Join(source, embed.Dir), 0o755); err != nil {
				return err
			}
			return btrfs.Format(ctx, w.tools, path, btrfs.Options{
				Source: source, Filesystem: btrfs.FlatcarFilesystem, Partition: btrfs.FlatcarPartition, Epoch: time.Unix(0, 0),
				UUID: btrfs.UUID{1},
			})
		})
	})
}
