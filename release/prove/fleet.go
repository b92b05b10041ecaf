package prove

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/fleet"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/story"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

// classicVersion is that of the release from which machines are updated, which embeds nothing for their cloud.
const classicVersion = "9998.0.0"

// Fleet updates machines that Flatcar installed, in all states that there are, to the release in OUTPUT/VERSION/ARCH, with a network
// and without, and lets them go back. It makes the release that they come from, on the same reference base. All machines are in the cloud that is asked
// for, or in the first one whose tools are in several images. It writes proof-fleet.json beside the release's files.
func Fleet(ctx context.Context, o setup.Options) (*proof.Proof, error) {
	b, to, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer b.bench.Close()
	cloud, err := b.cloud(to)
	if err != nil {
		return nil, err
	}
	output, err := os.MkdirTemp(b.bench.Scratch, "classic.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(output)
	from, err := b.classic(ctx, o, cloud, output)
	if err != nil {
		return nil, err
	}
	machines := existing(cloud.ID.Value, story.VersionsOf(from, to))
	prover, err := b.prover(ctx, to, len(machines))
	if err != nil {
		return nil, err
	}
	proven, err := proof.Begin(to.Release, prover.Accel.Name)
	if err != nil {
		return nil, err
	}
	step := b.bench.Progress.Items("stories", len(machines))
	defer step.End()
	told := make([][]proof.Machine, len(machines))
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(prover.Jobs)
	for i, m := range machines {
		group.Go(func() (err error) {
			teller := story.Teller{Prover: prover.Nth(i, len(machines)), From: from, To: to}
			told[i], err = teller.GoesBack(running, cloud, m)
			step.Add(1)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	proven.Machines = slices.Concat(told...)
	return proven, proof.Write(to.Dir, verify.FleetProofName, proven)
}

// existing are all states without a wish, with a network and without, and all wishes where Flatcar's own link does not take the place of
// what the user has. A full OEM partition makes no difference to a boot.
func existing(id string, versions fleet.Versions) (machines []story.Existing) {
	states, wishes := fleet.States(id, versions), fleet.Wishes(id, versions)
	for _, s := range states {
		machines = append(machines, story.Existing{State: s, Wish: wishes[0]}, story.Existing{State: s, Wish: wishes[0], Network: true})
	}
	for _, w := range wishes[1:] {
		if !w.Full {
			machines = append(machines, story.Existing{State: states[len(states)-1], Wish: w})
		}
	}
	return machines
}

// cloud is the one whose machines are updated.
func (b *booth) cloud(to story.Installable) (*platform.Platform, error) {
	platforms, err := b.provable(to)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(to.Manifest.Platforms, func(p manifest.Platform) bool {
		return p.Placement.Embedded() && len(p.Activates) > 1 &&
			slices.ContainsFunc(platforms, func(known *platform.Platform) bool { return known.ID.Value == p.ID })
	})
	if at < 0 {
		return platforms[0], nil
	}
	return platforms[slices.IndexFunc(platforms, func(p *platform.Platform) bool { return p.ID.Value == to.Manifest.Platforms[at].ID })], nil
}

// classic makes the release that machines come from: it embeds only the smallest of the other platforms.
func (b *booth) classic(ctx context.Context, o setup.Options, cloud *platform.Platform, output string) (story.Installable, error) {
	others := slices.DeleteFunc(slices.Clone(b.choice.Catalogue), func(p *platform.Platform) bool { return p == cloud })
	if len(others) == 0 {
		return story.Installable{}, errors.New("there is no platform but " + cloud.ID.Value + "; wanted another one, for the release that machines come from")
	}
	fewest := slices.MinFunc(others, func(a, b *platform.Platform) int { return len(a.Recipes) - len(b.Recipes) })
	o.Version, o.Output, o.Platforms = classicVersion, output, []string{fewest.ID.Value}
	if _, err := release.Assemble(ctx, o); err != nil {
		return story.Installable{}, fmt.Errorf("the release that machines come from: %w", err)
	}
	return story.Open(o.Dir())
}
