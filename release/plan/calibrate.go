package plan

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/fit"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/image/rung"
)

//go:embed coldread.sh
var coldRead string

// sampleAtLeast is the smallest layer to measure: the size of smaller ones depends on the superblock, not on the rung.
const sampleAtLeast = 512 * size.KiB

// readAtLeast is the smallest layer to time: reading a smaller one takes no longer than starting the program.
const readAtLeast = 4 * size.MiB

// coldReads is how often each image is read. The fastest time counts, since noise only slows reads down.
const coldReads = 3

// margin lowers the smallest ratios, for layers outside of the sample.
const margin = 0.9

// Calibrate packs the project's layers at every rung, reads the images cold and returns the calibration.
func (p *Planner) Calibrate(ctx context.Context) (*fit.Calibration, error) {
	factory, err := p.factory()
	if err != nil {
		return nil, err
	}
	staged, err := factory.Stage(ctx, p.Choice.Chosen)
	if err != nil {
		return nil, err
	}
	layers, err := factory.Layers(staged, int(p.Choice.Profile.MaxImages))
	if err != nil {
		return nil, err
	}
	layers = slices.DeleteFunc(layers, func(l oem.Layer) bool { return l.Tree.Size() < sampleAtLeast })
	ladder, err := p.ladder(ctx)
	if err != nil {
		return nil, err
	}
	scale, err := p.newScale(ctx)
	if err != nil {
		return nil, err
	}
	return (&calibrator{scale, factory.Packer}).calibrate(ctx, ladder, layers)
}

// calibrator measures the size and the read time of images at each rung.
type calibrator struct {
	*scale
	packer *pack.Packer
}

func (c *calibrator) calibrate(ctx context.Context, ladder []rung.Rung, layers []oem.Layer) (*fit.Calibration, error) {
	machine, err := describeMachine()
	if err != nil {
		return nil, err
	}
	found := &fit.Calibration{Machine: machine, Rungs: map[string]fit.Rate{}}
	for _, l := range layers {
		if l.Tree.Size() >= readAtLeast {
			found.Sample += l.Tree.Size()
		}
	}
	step := c.Bench.Progress.Items("rungs", len(ladder))
	defer step.End()
	for _, rung := range ladder {
		end := step.On(rung.String())
		rate, err := c.rate(ctx, rung, layers)
		end()
		if err != nil {
			return nil, fmt.Errorf("%v: %w", rung, err)
		}
		found.Rungs[rung.String()] = rate
		step.Add(1)
	}
	return found, nil
}

// rate packs all layers at a rung, reads them and compares size and time with the reference rung.
func (c *calibrator) rate(ctx context.Context, at rung.Rung, layers []oem.Layer) (fit.Rate, error) {
	leastSize, leastCost := math.Inf(1), math.Inf(1)
	var bytes, microseconds int64
	for _, l := range layers {
		reference, referenceCost, err := c.packed(ctx, l, rung.Default)
		if err != nil {
			return fit.Rate{}, err
		}
		packed, cost, err := c.packed(ctx, l, at)
		if err != nil {
			return fit.Rate{}, err
		}
		leastSize = min(leastSize, float64(packed.Size)/float64(reference.Size))
		leastCost = min(leastCost, float64(cost)/float64(referenceCost))
		if l.Tree.Size() < readAtLeast {
			continue
		}
		took, err := c.readCold(ctx, c.Bench.Blobs.Path(packed.SHA256))
		if err != nil {
			return fit.Rate{}, err
		}
		bytes, microseconds = bytes+int64(l.Tree.Size()), microseconds+took
	}
	percent := func(ratio float64) fit.Percent { return fit.Percent(100 * margin * ratio) }
	return fit.Rate{MBPerSecond: int(max(1, bytes/max(1, microseconds))), LeastSize: percent(leastSize), LeastCost: percent(leastCost)}, nil
}

func (c *calibrator) packed(ctx context.Context, l oem.Layer, rung rung.Rung) (pack.Image, size.Bytes, error) {
	packed, err := c.packer.Image(ctx, l.Tree, rung)
	if err != nil {
		return packed, 0, err
	}
	cost, err := c.cost(ctx, packed)
	return packed, cost, err
}

// readCold returns how many microseconds reading all files of an uncached image takes.
func (c *calibrator) readCold(ctx context.Context, image string) (int64, error) {
	dir, err := os.MkdirTemp(c.Bench.Scratch, "read.")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	out, err := run.Output(ctx, run.Cmd{
		Program: "unshare", Args: []string{"--mount", "sh", "-c", coldRead, "coldread", image, dir, strconv.Itoa(coldReads)},
		Env: run.HostEnv("PATH"),
	})
	if err != nil {
		return 0, err
	}
	fastest := int64(math.MaxInt64)
	for line := range strings.Lines(string(out)) {
		took, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read time: %w", err)
		}
		fastest = min(fastest, took)
	}
	return fastest, nil
}

// describeMachine returns processor and kernel, which the read times depend on.
func describeMachine() (string, error) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	_, model, found := strings.Cut(string(info), "model name")
	if !found {
		model = ": unknown processor"
	}
	model, _, _ = strings.Cut(model, "\n")
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, Linux %s", strings.TrimLeft(model, "\t :"), unix.ByteSliceToString(name.Release[:])), nil
}
