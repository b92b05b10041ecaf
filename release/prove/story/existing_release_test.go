package story_test

import (
	"context"
	"slices"
	"testing"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/boot"
	"github.com/flatcar/oem-sysext/release/prove/fleet"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/story"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

func TestMain(m *testing.M) { testrelease.Main(m) }

// prover boots what was written to the release directory.
func prover(t *testing.T, made *testrelease.Release) *boot.Prover {
	t.Helper()
	accel, err := boot.Accelerator(t.Context(), made.Bench, made.Base.Arch, made.File(manifest.KernelFile))
	if err != nil {
		t.Fatal(err)
	}
	return &boot.Prover{
		Tools: made.Bench.Tools, Accel: accel, Scratch: t.TempDir(), Consoles: t.TempDir(), Timeout: boot.Timeout, Jobs: 1, Log: made.Bench.Log,
	}
}

// tellerFrom tells stories of machines in Azure that run an older release, which embeds one platform only.
func tellerFrom(t *testing.T, embeds string) (story.Teller, *platform.Platform) {
	t.Helper()
	made := testrelease.Made(t)
	old := made.Options
	old.Version, old.Output, old.Platforms = "9998.0.0", t.TempDir(), []string{embeds}
	if _, err := release.Assemble(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	from, err := story.Open(old.Dir())
	if err != nil {
		t.Fatal(err)
	}
	to, err := story.Open(made.Options.Dir())
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(made.Choice.Catalogue, func(p *platform.Platform) bool { return p.ID.Value == "azure" })
	return story.Teller{Prover: prover(t, made), From: from, To: to}, made.Choice.Catalogue[at]
}

// TestMachinesThatExist updates machines in Azure that Flatcar installed, from a release that embeds nothing for them. One goes back.
// Package fleet has all states of such machines, prove:fleet boots them.
func TestMachinesThatExist(t *testing.T) {
	teller, azure := tellerFrom(t, "vagrant")
	versions := story.VersionsOf(teller.From, teller.To)
	states, wishes := fleet.States("azure", versions), fleet.Wishes("azure", versions)
	for _, c := range []struct {
		state, wish string
		network     bool
		tell        func(context.Context, *platform.Platform, story.Existing) ([]proof.Machine, error)
		boots       int
	}{
		{"vendor", "none", false, teller.GoesBack, 3},
		{"unmarked", "link to an image for another version", true, teller.Updated, 1},
	} {
		state := states[slices.IndexFunc(states, func(s fleet.State) bool { return s.Name == c.state })]
		wish := wishes[slices.IndexFunc(wishes, func(w fleet.Wish) bool { return w.Name == c.wish })]
		machines, err := c.tell(t.Context(), azure, story.Existing{State: state, Wish: wish, Network: c.network})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range machines {
			t.Logf("%+v", m)
			if m.Failed() {
				t.Errorf("%s: failed", m.Step)
			}
		}
		if len(machines) != c.boots {
			t.Errorf("machines are %+v", machines)
		}
	}
}
