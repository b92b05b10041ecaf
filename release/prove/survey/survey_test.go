//go:build nightly

// Package survey builds images of packages that nobody chose, and looks what works of them.
package survey

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/stage"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

const (
	suite    = "trixie"
	surveyed = 200
	answered = 20 // of those that ask, to which is answered what they propose
	drawn    = 40 // of those that build without a word, which boot in a machine
)

// surveyedOne is what became of a package.
type surveyedOne struct {
	popular
	Asks    []string `json:"asks,omitempty"` // keys of the recipe that answer
	Error   string   `json:"error,omitempty"`
	Tried   bool     `json:"tried,omitempty"`   // with the answers that messages propose
	Still   string   `json:"still,omitempty"`   // what is wrong with these
	Sandbox []string `json:"sandbox,omitempty"` // what does not work over the base
	Drawn   bool     `json:"drawn,omitempty"`
	Machine []string `json:"machine,omitempty"` // what does not work in the machine
	staged  stage.Staged
}

// refused tells whether there is nothing that a recipe could answer.
func (one *surveyedOne) refused() bool { return one.Error != "" && len(one.Asks) == 0 }

// TestNightlySurvey builds images of packages that nobody chose: a recipe of each that has no answers. What builds without a word must work, which
// all show in a sandbox, and some in a machine that has the images of all of them. _output/survey.json has what became of each.
func TestNightlySurvey(t *testing.T) {
	testrelease.Needs(t)
	o := testrelease.Fresh(t)
	w, err := release.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Bench.Close()
	have, err := debian.ParseStatus(bytes.NewReader(w.Base.Target.Status))
	if err != nil {
		t.Fatal(err)
	}
	archive, err := w.Bench.Archive.Release(t.Context(), suite, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	var all []*surveyedOne
	for _, p := range mostPopular(t, archive, have, surveyed) {
		all = append(all, &surveyedOne{popular: p})
	}
	recipes := recipesOf(t, o.Checkout, all)
	s, err := newSurvey(w)
	if err != nil {
		t.Fatal(err)
	}
	defer write(t, filepath.Join(o.Checkout, "_output/survey.json"), &all)
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(2)
	for _, one := range all {
		group.Go(func() error {
			defer func() { t.Logf("%s: %.200q %q", one.Name, one.Error, one.Sandbox) }()
			return s.survey(ctx, recipes, one)
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	var built, asks []*surveyedOne
	for _, one := range all {
		switch {
		case one.refused():
			t.Errorf("%s is refused, and no key of a recipe is an answer: %s", one.Name, one.Error)
		case one.Error == "":
			built = append(built, one)
		default:
			asks = append(asks, one)
		}
	}
	write(t, filepath.Join(o.Checkout, "_output/survey.json"), all)
	chosen := draw(built, drawn)
	for _, one := range chosen {
		one.Drawn = true
	}
	setup, err := s.build(t.Context(), recipes, "oem-setup")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.inMachine(t.Context(), w, append(chosen, &surveyedOne{popular: popular{Name: "oem-setup"}, staged: setup})); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(o.Checkout, "_output/survey.json"), all)
	for _, one := range draw(asks, answered) {
		one.Tried = true
		if err := s.withAnswers(t.Context(), recipes, one); err != nil {
			one.Still = err.Error()
			if !slices.Contains(keysFor(one.Still), "files") {
				t.Errorf("%s has all answers that were proposed, and does not build: %s", one.Name, one.Still)
			}
		}
	}
	works := 0
	for _, one := range built {
		for _, failure := range slices.Concat(one.Sandbox, one.Machine) {
			t.Errorf("%s builds without a word, and does not work: %s", one.Name, failure)
		}
		if one.Drawn && len(one.Machine) == 0 {
			works++
		}
	}
	t.Logf("%d packages: %d build without a word, %d ask; of %d in a machine %d work", len(all), len(built), len(all)-len(built), len(chosen), works)
}

// draw chooses some at random, always the same ones of the same.
func draw(from []*surveyedOne, most int) (chosen []*surveyedOne) {
	for _, at := range rand.New(rand.NewPCG(1, 2)).Perm(len(from))[:min(most, len(from))] {
		chosen = append(chosen, from[at])
	}
	return chosen
}

func write(t *testing.T, file string, all any) {
	content, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = os.WriteFile(file, content, 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

var notInNames = regexp.MustCompile(`[^a-z0-9-]`)

// recipeName is how the recipe of a package is called.
func recipeName(pkg string) string { return "of-" + notInNames.ReplaceAllString(pkg, "-") }

// recipesOf writes a recipe of each package as recipe:new begins one, filled in with the least, and reads them.
func recipesOf(t *testing.T, checkout string, all []*surveyedOne) recipe.Set {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "recipes/oem-setup"), os.DirFS(filepath.Join(checkout, "recipes/oem-setup"))); err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		name := recipeName(one.Name)
		text := strings.Join([]string{
			"name: " + name, "summary: one of many", "homepage: https://example.org", "license: MIT", "arches: [amd64]",
			"sources: [{deb: {suite: " + suite + ", packages: [" + one.Name + "]}}]", "max_size: 1 GiB", "",
		}, "\n")
		file := filepath.Join(dir, "recipes", name, recipe.FileName)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	recipes, mistakes := recipe.Load(rooted.Files(dir), "recipes")
	if err := mistakes.Err(); err != nil {
		t.Fatal(err)
	}
	return recipes
}

// surveyor builds and checks one recipe after the other, as recipe:try does, and packs nothing.
type surveyor struct {
	factory *oem.Factory
	stager  *stage.Stager
}

func newSurvey(w *release.Run) (*surveyor, error) {
	factory, err := w.Factory()
	if err != nil {
		return nil, err
	}
	checker, err := check.New(factory.Base, factory.Blobs, factory.Builder.Results, factory.Builder.Scratch)
	keep := func(content string) (digest.SHA256, error) {
		d, _, err := factory.Blobs.Add(strings.NewReader(content))
		return d, err
	}
	return &surveyor{factory, &stage.Stager{
		Base: factory.Base, Epoch: factory.Packer.Epoch, Keep: keep, Check: checker.Tree, Indexes: checker.ModuleIndexes, Works: checker.Works,
	}}, err
}

func (s *surveyor) build(ctx context.Context, all recipe.Set, name string) (stage.Staged, error) {
	p := &platform.Platform{ID: strictyaml.Text{Value: name}, Name: name, Homepage: all[name].Homepage, File: all[name].File, Recipes: all.With(name)}
	var parts []stage.Part
	for _, r := range p.Recipes {
		resolved, err := s.factory.Builder.Resolve(ctx, r, s.factory.Base.Arch)
		if err != nil {
			return stage.Staged{}, err
		}
		made, err := s.factory.Builder.Tree(ctx, resolved)
		if err != nil {
			return stage.Staged{}, err
		}
		parts = append(parts, stage.Part{Recipe: r, Tree: made, Inputs: resolved.Inputs()})
	}
	return s.stager.Stage(ctx, p, "1", parts)
}

// survey says what becomes of a package.
func (s *surveyor) survey(ctx context.Context, recipes recipe.Set, one *surveyedOne) (err error) {
	if one.staged, err = s.build(ctx, recipes, recipeName(one.Name)); err != nil {
		one.Error, one.Asks = err.Error(), keysFor(err.Error())
		return ctx.Err()
	}
	commands := one.programs()
	failures, err := s.stager.Works(ctx, one.staged.Tree, commands)
	if err != nil {
		return err
	}
	failed := map[int]string{}
	for _, f := range failures {
		failed[f.Command] = f.Text
	}
	one.Sandbox = judge(commands, failed)
	return nil
}
