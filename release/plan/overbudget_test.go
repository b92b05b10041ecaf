package plan

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// TestTooLargeSaysWhoTakesWhat gives the real images less room than they can do with.
func TestTooLargeSaysWhoTakesWhat(t *testing.T) {
	theRelease(t)
	o := options(t, made.workshop.Cache, t.TempDir())
	o.Previous = []string{made.workshop.Dir()}
	w, err := open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	w.profile.Images.Bytes = 1 * size.MiB
	factory, err := w.factory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	empty, err := w.format(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	some := made.staged[:2] // what all of them take at least is many images to pack
	_, err = w.fit(t.Context(), factory, some, empty)
	var over *OverBudgetError
	if !errors.As(err, &over) {
		t.Fatalf("error is %v", err)
	}
	if told, ok := any(err).(interface{ ExitStatus() int }); !ok || told.ExitStatus() != 3 { // mage unwraps nothing
		t.Errorf("the exit code for %T is not 3", err)
	}
	text := err.Error()
	for _, want := range []string{
		"images has 1.0 MiB (1048576 B) and needs ", " B too much", "takes at least", "share", "growth",
		some[0].Platform.Image(), some[1].Platform.Image(), "The largest files:", "prune", "Nothing was embedded",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
	if len(over.Largest) != largestFiles {
		t.Errorf("%d files are named; want %d", len(over.Largest), largestFiles)
	}
	for i := range over.Largest[1:] {
		if over.Largest[i].size < over.Largest[i+1].size {
			t.Errorf("files are not in order: %v", over.Largest)
		}
	}
}

func TestGrownRecipesAreFound(t *testing.T) {
	theRelease(t)
	if found := grown(made.staged, made.manifest); len(found) > 0 {
		t.Errorf("against itself, these grew: %v", found)
	}
	before := *made.manifest
	before.Images = slices.Clone(before.Images)
	for i, image := range before.Images { // as if one program had been smaller
		before.Images[i].Contents = slices.Clone(image.Contents)
		for n, c := range image.Contents {
			if c.Path == "/usr/bin/hcloud" {
				before.Images[i].Contents[n].Size -= 1000
			}
		}
	}
	if diff := cmp.Diff([]grownRecipe{{"hcloud-cli", 1000}}, grown(made.staged, &before), cmp.AllowUnexported(grownRecipe{})); diff != "" {
		t.Error(diff)
	}
}
