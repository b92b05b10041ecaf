package prove

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/vm"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship"
	"github.com/flatcar/oem-sysext/release/ship/report"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

// ConsolesDir is in the output directory.
const ConsolesDir = "consoles"

// BootTimeout is twice what a boot takes on a busy host without hardware virtualisation.
const BootTimeout = 10 * time.Minute

// Accelerator returns how machines with a kernel run here.
func Accelerator(ctx context.Context, bench *setup.Bench, a arch.Arch, kernel string) (vm.Accel, error) {
	qemu, err := bench.ScriptTools(ctx, "", vm.Packages(a))
	if err != nil {
		return vm.Accel{}, err
	}
	return vm.Probe(ctx, qemu, a, kernel)
}

// guests is how many machines run at a time, at most.
const guests = 2

// ThisRelease boots the release in OUTPUT/VERSION/ARCH for the platforms that are asked for, all that it embeds by default,
// and writes proof.json beside its files.
func ThisRelease(ctx context.Context, o setup.Options) (*Proof, error) {
	proof, err := provePlatforms(ctx, o, allOf, 0)
	if err != nil {
		return nil, err
	}
	return proof, WriteProof(o.Dir(), verify.ProofName, proof)
}

// Soak boots the release as ThisRelease does and refreshes what is merged again and again, in tens.
// It writes proof-soak.json beside the release's files.
func Soak(ctx context.Context, o setup.Options) (*Proof, error) {
	refreshes := o.Proof.Refreshes
	if refreshes < 20 || refreshes%10 != 0 {
		return nil, fmt.Errorf("%d refreshes; wanted a multiple of ten from 20 on, since what there is is counted after each ten", refreshes)
	}
	proof, err := provePlatforms(ctx, o, allOf, refreshes)
	if err != nil {
		return nil, err
	}
	return proof, WriteProof(o.Dir(), verify.SoakProofName, proof)
}

// Some boots the release for those of its platforms that choose keeps, and writes nothing.
func Some(ctx context.Context, o setup.Options, choose func([]*platform.Platform) []*platform.Platform) (*Proof, error) {
	return provePlatforms(ctx, o, choose, 0)
}

func allOf(platforms []*platform.Platform) []*platform.Platform { return platforms }

// refreshTimeout is several times what a refresh takes on a busy host without hardware virtualisation:
// one of four signed images was seen to take 14 s there.
const refreshTimeout = time.Minute

// provePlatforms proves those platforms that are chosen of those that were asked for and are embedded.
func provePlatforms(ctx context.Context, o setup.Options, choose func([]*platform.Platform) []*platform.Platform, refreshes int) (*Proof, error) {
	b, to, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer b.bench.Close()
	platforms, err := b.provable(to)
	if err != nil {
		return nil, err
	}
	platforms = choose(platforms)
	prover, err := b.prover(ctx, to, len(platforms))
	if err != nil {
		return nil, err
	}
	prover.Refreshes = refreshes
	prover.Timeout += time.Duration(refreshes) * refreshTimeout
	step := b.bench.Progress.Items("machines", len(platforms))
	defer step.End()
	return prover.Platforms(ctx, to.Release, platforms, func(Machine) { step.Add(1) })
}

// WriteProof writes a proof beside the files that it is about, and into their report, and the digests of both into their sums.
func WriteProof(dir, name string, p *Proof) error {
	encoded, err := p.Encode()
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(dir, name), 0o644, encoded); err != nil {
		return err
	}
	if err := ship.AddSum(dir, name, digest.Of(encoded)); err != nil {
		return err
	}
	proofs, err := readProofs(dir)
	if err != nil {
		return err
	}
	page, err := reportWith(dir, proofs)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(dir, manifest.ReportFile), 0o644, page); err != nil {
		return err
	}
	return ship.AddSum(dir, manifest.ReportFile, digest.Of(page))
}

// reportWith returns the report of the release in a directory with these proofs.
func reportWith(dir string, proofs []report.Proof) ([]byte, error) {
	page, err := os.ReadFile(filepath.Join(dir, manifest.ReportFile))
	if err != nil {
		return nil, err
	}
	if page, err = report.WithProofs(page, proofs); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, manifest.ReportFile), err)
	}
	return page, nil
}

// Rollback updates machines from the release OUTPUT/FROM/ARCH to OUTPUT/VERSION/ARCH and back again,
// for the platforms that are asked for, all that both embed by default. It writes proof-rollback.json beside the latter's files.
func Rollback(ctx context.Context, o setup.Options, from string) (*Proof, error) {
	return proveStory(ctx, o, from, (*Prover).Rollback, verify.RollbackProofName)
}

// Downgrade installs the release OUTPUT/FROM/ARCH on machines that run OUTPUT/VERSION/ARCH, for platforms as in Rollback.
// It writes proof-downgrade.json beside the latter's files.
func Downgrade(ctx context.Context, o setup.Options, from string) (*Proof, error) {
	return proveStory(ctx, o, from, (*Prover).Downgrade, verify.DowngradeProofName)
}

// Tamper updates machines from the release OUTPUT/FROM/ARCH to OUTPUT/VERSION/ARCH, damages that one, and shows that
// the other one comes up, for platforms as in Rollback. It writes proof-tamper.json beside the latter's files.
func Tamper(ctx context.Context, o setup.Options, from string) (*Proof, error) {
	return proveStory(ctx, o, from, (*Prover).Tamper, verify.TamperProofName)
}

func proveStory(ctx context.Context, o setup.Options, from string, tell Story, file string) (*Proof, error) {
	b, to, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer b.bench.Close()
	old := o
	old.Version = from
	before, err := OpenInstallable(old.Dir())
	if err != nil {
		return nil, err
	}
	embedding := []Installable{before, to}
	if len(o.Platforms) > 0 { // what befalls a machine whose tools the new release lacks is a story, too
		embedding = embedding[:1]
	}
	platforms, err := b.provable(embedding...)
	if err != nil {
		return nil, err
	}
	prover, err := b.prover(ctx, to, len(platforms))
	if err != nil {
		return nil, err
	}
	step := b.bench.Progress.Items("stories", len(platforms))
	defer step.End()
	proof, err := prover.Stories(ctx, tell, before, to, platforms, func() { step.Add(1) })
	if err != nil {
		return nil, err
	}
	return proof, WriteProof(to.Dir, file, proof)
}

// booth is what proofs of releases work with.
type booth struct {
	bench  *setup.Bench
	choice *setup.Choice
	arch   arch.Arch
	output string
}

// open opens the release that is chosen, and what proving it takes, which is no base.
func open(ctx context.Context, o setup.Options) (*booth, Installable, error) {
	r, err := OpenInstallable(o.Dir())
	if err != nil {
		return nil, r, err
	}
	if _, err := reportWith(o.Dir(), nil); err != nil { // rather now than after an hour
		return nil, r, err
	}
	choice, err := setup.Choose(o)
	if err != nil {
		return nil, r, err
	}
	bench, err := setup.Open(ctx, o)
	return &booth{bench, choice, o.Arch, o.Output}, r, err
}

// OpenInstallable opens the release in a directory, to be booted or to be put into a slot.
func OpenInstallable(dir string) (Installable, error) {
	into, err := ship.Installable(dir)
	if err != nil {
		return Installable{}, err
	}
	r, err := Open(dir)
	return Installable{Release: r, Slot: into}, err
}

// prover returns what boots a release for so many platforms.
func (b *booth) prover(ctx context.Context, r Installable, platforms int) (*Prover, error) {
	accel, err := Accelerator(ctx, b.bench, b.arch, r.Slot.Kernel.Path)
	b.bench.Log.Info("booting machines", "release", r.Manifest.Version, "accelerator", accel.Name)
	return &Prover{
		Tools: b.bench.Tools, Accel: accel, Scratch: b.bench.Scratch, Consoles: filepath.Join(b.output, ConsolesDir, r.Manifest.Version),
		Timeout: BootTimeout, Jobs: min(guests, platforms), Log: b.bench.Log,
	}, err
}

// provable returns those of the chosen platforms that all releases embed. One that was asked for and is not there is a mistake.
func (b *booth) provable(releases ...Installable) ([]*platform.Platform, error) {
	var platforms []*platform.Platform
	for _, p := range b.choice.Chosen {
		var err error
		for _, r := range releases {
			_, missing := Expect(r.Manifest, p)
			err = errors.Join(err, missing)
		}
		if err == nil {
			platforms = append(platforms, p)
		} else if b.choice.Named(p.ID.Value) {
			return nil, err
		}
	}
	if len(platforms) == 0 {
		return nil, errors.New("no platform is embedded; there is nothing to prove")
	}
	return platforms, nil
}
