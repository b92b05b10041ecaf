// Package prove boots a release in virtual machines and asserts what it promises.
//
// In go a release directory and the definitions of its platforms; out comes a proof: what was booted, by digest,
// what was asserted, and what failed. Machines have the markers and the OEM partition of their cloud,
// dm-verity below /usr, and no network.
package prove

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sums"
	"github.com/flatcar/oem-sysext/release/profiles"
	"github.com/flatcar/oem-sysext/release/prove/boot"
	"github.com/flatcar/oem-sysext/release/prove/faults"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/story"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

// guests is how many machines run at a time, at most.
const guests = 2

// ThisRelease boots the release in OUTPUT/VERSION/ARCH for the platforms that are asked for, all that it embeds by default,
// and writes proof.json beside its files.
func ThisRelease(ctx context.Context, o setup.Options) (*proof.Proof, error) {
	proven, err := provePlatforms(ctx, o, allOf, 0)
	if err != nil {
		return nil, err
	}
	return proven, proof.Write(o.Dir(), verify.ProofName, proven)
}

// Soak boots the release as ThisRelease does and refreshes what is merged again and again, in tens.
// It writes proof-soak.json beside the release's files.
func Soak(ctx context.Context, o setup.Options) (*proof.Proof, error) {
	refreshes := o.Proof.Refreshes
	if refreshes < 20 || refreshes%10 != 0 {
		return nil, fmt.Errorf("%d refreshes; wanted a multiple of ten from 20 on, since what there is is counted after each ten", refreshes)
	}
	proven, err := provePlatforms(ctx, o, allOf, refreshes)
	if err != nil {
		return nil, err
	}
	return proven, proof.Write(o.Dir(), verify.SoakProofName, proven)
}

// Faults disturbs runs that make the release of the options, FAULTS of them, with all that is random chosen by SEED. What they need is got
// before, undisturbed. It tells of each, and returns how many left nothing.
func Faults(ctx context.Context, o setup.Options, command func(cache, output string) *exec.Cmd, report func(faults.Outcome)) (held int, err error) {
	r, err := release.Open(ctx, o)
	if err != nil {
		return 0, err
	}
	defer r.Bench.Close()
	o.Version = r.Base.Version
	subject := faults.Subject{
		Command: command, Sums: filepath.Join(o.Version, string(o.Arch), sums.FileName), Cache: r.Bench.CacheDir, Scratch: r.Bench.Scratch,
	}
	return faults.Run(ctx, subject, o.Proof.Seed, int(o.Proof.Faults), report)
}

// Some boots the release for those of its platforms that choose keeps, and writes nothing.
func Some(ctx context.Context, o setup.Options, choose func([]*platform.Platform) []*platform.Platform) (*proof.Proof, error) {
	return provePlatforms(ctx, o, choose, 0)
}

func allOf(platforms []*platform.Platform) []*platform.Platform { return platforms }

// refreshTimeout is several times what a refresh takes on a busy host without hardware virtualisation:
// one of four signed images was seen to take 14 s there.
const refreshTimeout = time.Minute

// provePlatforms proves those platforms that are chosen of those that were asked for and are embedded.
func provePlatforms(ctx context.Context, o setup.Options, choose func([]*platform.Platform) []*platform.Platform, refreshes int) (*proof.Proof, error) {
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
	return prover.Platforms(ctx, to.Release, platforms, func(proof.Machine) { step.Add(1) })
}

// Rollback updates machines from the release OUTPUT/FROM/ARCH to OUTPUT/VERSION/ARCH and back again,
// for the platforms that are asked for, all that both embed by default. If the latter has a payload for machines of the former, that is
// what they get. It writes proof-rollback.json beside the latter's files.
func Rollback(ctx context.Context, o setup.Options, from string) (*proof.Proof, error) {
	return proveStory(ctx, o, from, story.Teller.Rollback, verify.RollbackProofName)
}

// demoFrom is the version that the machine of a demonstration runs at first.
const demoFrom = "9998.0.0"

// Demo makes two small releases in OUTPUT/demo, for machines of QEMU, and tells the story of Rollback, with all that is to be seen of it.
func Demo(ctx context.Context, o setup.Options) (*proof.Proof, error) {
	o.BaseID, o.Profile, o.Platforms, o.Extras = setup.DefaultBase, profiles.Default, []string{"qemu"}, true
	o.Output = filepath.Join(o.Output, "demo")
	making, both := errgroup.WithContext(ctx)
	making.Go(func() error { return getQEMU(both, o) }) // meanwhile: where nothing is cached, each takes a processor
	making.Go(func() error {
		for _, version := range []string{demoFrom, setup.DefaultVersion} {
			o := o
			o.Version = version
			o.Progress.Say("A release %s is made, with the tools of QEMU's machines in it.", version)
			if _, err := release.Assemble(both, o); err != nil {
				return err
			}
		}
		return nil
	})
	if err := making.Wait(); err != nil {
		return nil, err
	}
	o.Version = setup.DefaultVersion
	watched := func(t story.Teller, ctx context.Context, platform *platform.Platform) ([]proof.Machine, error) {
		prover := *t.Prover
		prover.Watch = func(line string) { o.Progress.Say("%s", line) }
		t.Prover = &prover
		return t.Rollback(ctx, platform)
	}
	return proveStory(ctx, o, demoFrom, watched, verify.RollbackProofName)
}

func getQEMU(ctx context.Context, o setup.Options) error {
	bench, err := setup.Open(ctx, o)
	if err != nil {
		return err
	}
	defer bench.Close()
	_, err = boot.QEMU(ctx, bench, o.Arch)
	return err
}

// Downgrade installs the release OUTPUT/FROM/ARCH on machines that run OUTPUT/VERSION/ARCH, for platforms as in Rollback.
// It writes proof-downgrade.json beside the latter's files.
func Downgrade(ctx context.Context, o setup.Options, from string) (*proof.Proof, error) {
	return proveStory(ctx, o, from, story.Teller.Downgrade, verify.DowngradeProofName)
}

// Tamper updates machines from the release OUTPUT/FROM/ARCH to OUTPUT/VERSION/ARCH, damages that one, and shows that
// the other one comes up, for platforms as in Rollback. It writes proof-tamper.json beside the latter's files.
func Tamper(ctx context.Context, o setup.Options, from string) (*proof.Proof, error) {
	return proveStory(ctx, o, from, story.Teller.Tamper, verify.TamperProofName)
}

func proveStory(ctx context.Context, o setup.Options, from string, tell story.Story, file string) (*proof.Proof, error) {
	b, to, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer b.bench.Close()
	old := o
	old.Version = from
	before, err := story.Open(old.Dir())
	if err != nil {
		return nil, err
	}
	embedding := []story.Installable{before, to}
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
	teller := story.Teller{Prover: prover, From: before, To: to}
	if delta := manifest.DeltaFile(from); to.Manifest.File(delta).Size > 0 {
		teller.Delta = to.Path(delta)
	}
	told, err := teller.Stories(ctx, tell, platforms, func() { step.Add(1) })
	if err != nil {
		return nil, err
	}
	return told, proof.Write(to.Dir, file, told)
}

// booth is what proofs of releases work with.
type booth struct {
	bench  *setup.Bench
	choice *setup.Choice
	arch   arch.Arch
	output string
}

// open opens the release that is chosen, and what proving it takes, which is no base.
func open(ctx context.Context, o setup.Options) (*booth, story.Installable, error) {
	r, err := story.Open(o.Dir())
	if err != nil {
		return nil, r, err
	}
	if _, err := proof.ReportWith(o.Dir(), nil); err != nil { // rather now than after an hour
		return nil, r, err
	}
	choice, err := setup.Choose(o)
	if err != nil {
		return nil, r, err
	}
	bench, err := setup.Open(ctx, o)
	return &booth{bench, choice, o.Arch, o.Output}, r, err
}

// prover returns what boots a release for so many platforms.
func (b *booth) prover(ctx context.Context, r story.Installable, platforms int) (*boot.Prover, error) {
	accel, err := boot.Accelerator(ctx, b.bench, b.arch, r.Slot.Kernel.Path)
	b.bench.Log.Info("booting machines", "release", r.Manifest.Version, "accelerator", accel.Name)
	return &boot.Prover{
		Tools: b.bench.Tools, Accel: accel, Scratch: b.bench.Scratch, Consoles: filepath.Join(b.output, boot.ConsolesDir, r.Manifest.Version),
		Timeout: boot.Timeout, Jobs: min(guests, platforms), Log: b.bench.Log,
	}, err
}

// provable returns those of the chosen platforms that all releases embed. One that was asked for and is not there is a mistake.
func (b *booth) provable(releases ...story.Installable) ([]*platform.Platform, error) {
	var platforms []*platform.Platform
	for _, p := range b.choice.Chosen {
		var err error
		for _, r := range releases {
			_, missing := boot.Expect(r.Manifest, p)
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
