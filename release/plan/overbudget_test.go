package plan_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/fit"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

func TestMain(m *testing.M) { testrelease.Main(m) }

// TestTooLargeSaysWhoTakesWhat gives the real images less room than they can do with, one budget after the other.
func TestTooLargeSaysWhoTakesWhat(t *testing.T) {
	made := testrelease.Made(t)
	for budget, shrink := range map[string]func(*plan.Planner){
		"images has 64.0 KiB (65536 B) and needs ": func(p *plan.Planner) {
			profile := *p.Choice.Profile
			profile.Images.Bytes = 64 * size.KiB
			p.Choice.Profile = &profile
		},
		"OEM partition has 64.0 KiB and needs ": func(p *plan.Planner) { p.Choice.Layout.OEMPartition.Bytes = 64 * size.KiB },
		"kernel and initramfs has 20.0 MiB and needs ": func(p *plan.Planner) {
			p.Choice.Layout.Boot.Bytes = 20 * size.MiB
		},
		"memory for a network boot has 100.0 MiB and needs ": func(p *plan.Planner) {
			p.Choice.Layout.NetworkBoot.Bytes = 100 * size.MiB
		},
	} {
		choice := *made.Choice
		choice.Chosen = slices.DeleteFunc(slices.Clone(choice.Chosen), func(p *platform.Platform) bool {
			return p.ID.Value != "akamai" && p.ID.Value != "hyperv" // small ones: what is too large is packed on every rung
		})
		choice.Previous = append(choice.Previous, made.Manifest)
		p := &plan.Planner{Bench: made.Bench, Choice: &choice, Base: made.Base, Keys: made.Keys}
		shrink(p)
		_, err := p.Plan(t.Context())
		var over *plan.OverBudgetError
		if !errors.As(err, &over) || over.ExitStatus() != 3 {
			t.Errorf("%q: error is %v; wanted one with exit status 3", budget, err)
			continue
		}
		wanted := []string{budget, " B too much", "Largest files:", "prune", "Nothing was embedded"}
		if strings.HasPrefix(budget, "images") {
			wanted = append(wanted, "smallest cost", "share", "growth", choice.Chosen[0].Image(), choice.Chosen[1].Image())
		}
		for _, want := range wanted {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in:\n%v", want, err)
			}
		}
		if !slices.IsSortedFunc(over.Smallest, func(a, b fit.Smallest) int { return int(b.Cost - a.Cost) }) {
			t.Errorf("images are not sorted by size: %+v", over.Smallest)
		}
		sizes := plan.LargestSizes(over)
		if len(sizes) != plan.LargestFiles || !slices.IsSortedFunc(sizes, func(a, b size.Bytes) int { return int(b - a) }) {
			t.Errorf("the largest files have %v; wanted %d, the largest first", sizes, plan.LargestFiles)
		}
	}
}

func TestGrownRecipesAreFound(t *testing.T) {
	made := testrelease.Made(t)
	if found := plan.Grown(made.Planned.Staged, made.Manifest); len(found) > 0 {
		t.Errorf("against itself, these grew: %v", found)
	}
	before := *made.Manifest
	before.Images = slices.Clone(before.Images)
	for i, image := range before.Images { // as if one program had been smaller
		before.Images[i].Contents = slices.Clone(image.Contents)
		for n, c := range image.Contents {
			if c.Path == "/usr/bin/hcloud" {
				before.Images[i].Contents[n].Size -= 1000
			}
		}
	}
	if diff := cmp.Diff(map[string]size.Bytes{"hcloud-cli": 1000}, plan.Grown(made.Planned.Staged, &before)); diff != "" {
		t.Error(diff)
	}
}

// Every item of the plan is explained with the plan's own choice and budgets.
func TestExplainsTheSamePlan(t *testing.T) {
	made := testrelease.Made(t)
	for _, i := range made.Planned.Images[:1] {
		e, err := made.Planned.Explain(t.Context(), i.Name)
		if err != nil {
			t.Fatal(err)
		}
		if e.Chosen.Rung != i.Packed.Rung || e.Chosen.Size != i.Packed.Size || e.Chosen.Cost != i.Cost {
			t.Errorf("%s is explained as %+v; the plan has %v of %v", i.Name, e.Chosen, i.Packed.Rung, i.Packed.Size)
		}
		if !slices.Contains(made.Planned.Budgets, e.Tightest) {
			t.Errorf("%s is explained with the budget %+v; the plan has %+v", i.Name, e.Tightest, made.Planned.Budgets)
		}
		chosen := slices.IndexFunc(e.Alternatives, func(a plan.Alternative) bool { return e.Instead(a) == "chosen" })
		if chosen < 0 || len(e.Alternatives) < 5 {
			t.Errorf("%s has the alternatives %+v", i.Name, e.Alternatives)
		}
	}
	if _, err := made.Planned.Explain(t.Context(), "oem-azrue"); err == nil || !strings.Contains(err.Error(), `did you mean "oem-azure"? Wanted is one of oem-akamai, `) {
		t.Errorf("error is %v", err)
	}
}
