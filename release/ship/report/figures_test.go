package report

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

func TestPartsOf(t *testing.T) {
	images := []manifest.Image{{Embedded: "x", Cost: 200, Size: 190}, {Cost: 0, Size: 500}} // the second one is not embedded
	for name, test := range map[string]struct {
		budgets []budget.Budget
		after   size.Bytes
		want    parts
	}{
		"headroom":                             {[]budget.Budget{{Name: "payload", Limit: 5}, {Name: "usr", Limit: 900}}, 480, parts{Base: 300, Images: 200, Metadata: 20, Headroom: 100, Free: 380}},
		"no budget":                            {nil, 500, parts{Base: 300, Images: 200, Free: 500}},
		"headroom is used":                     {[]budget.Budget{{Name: "usr", Limit: 400}}, 500, parts{Base: 300, Images: 200, Headroom: 500}},
		"larger file system than budget knows": {[]budget.Budget{{Name: "usr", Limit: 2000}}, 500, parts{Base: 300, Images: 200, Free: 500}},
	} {
		got := partsOf(&manifest.Manifest{
			Images: images, Plan: manifest.Plan{Budgets: test.budgets},
			Partition: manifest.Partition{Filesystem: 1000, FreeBefore: 700, FreeAfter: test.after},
		})
		if got != test.want {
			t.Errorf("%s: %+v; want %+v", name, got, test.want)
		}
	}
}

func TestInputChanges(t *testing.T) {
	one, other := "sha256:0123456789abcdef", "sha256:fedcba9876543210"
	for name, test := range map[string]struct {
		before, after input.Input
		want          []change
	}{
		"same":        {input.Input{Kind: "deb", Name: "a", Version: "1", Digest: one}, input.Input{Kind: "deb", Name: "a", Version: "1", Digest: one}, nil},
		"new version": {input.Input{Kind: "deb", Name: "a", Version: "1", Digest: one}, input.Input{Kind: "deb", Name: "a", Version: "2", Digest: other}, []change{{"deb", "a", "1", "2"}}},
		"rebuilt":     {input.Input{Kind: "deb", Name: "a", Version: "1", Digest: one}, input.Input{Kind: "deb", Name: "a", Version: "1", Digest: other}, []change{{"deb", "a", "sha256:0123456789ab", "sha256:fedcba987654"}}},
		"no version":  {input.Input{Kind: "file", Name: "a", Digest: one}, input.Input{Kind: "file", Name: "a", Digest: "h1:short"}, []change{{"file", "a", "sha256:0123456789ab", "h1:short"}}},
		"another one": {input.Input{Kind: "deb", Name: "a", Version: "1"}, input.Input{Kind: "go", Name: "a", Version: "1"}, []change{{"deb", "a", "1", ""}, {"go", "a", "", "1"}}},
	} {
		got := inputChanges([]input.Input{test.before}, []input.Input{test.after})
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestFileChanges(t *testing.T) {
	m := func(contents ...[]manifest.Content) *manifest.Manifest {
		var m manifest.Manifest
		for i, c := range contents {
			m.Images = append(m.Images, manifest.Image{Name: string(rune('a' + i)), Contents: c})
		}
		return &m
	}
	small, large := file("/f", "1", "r", 10), file("/f", "2", "r", 25)
	link, elsewhere := manifest.Content{Path: "/l", Target: "x"}, manifest.Content{Path: "/l", Target: "y"}
	type list = []manifest.Content
	for name, test := range map[string]struct {
		before, after *manifest.Manifest
		want          []fileChange
	}{
		"moved":            {m(list{small}, nil), m(nil, list{small}), nil},
		"repeated":         {m(list{small}), m(list{small}, list{small}), nil},
		"grown":            {m(list{small}), m(list{large}), []fileChange{{"/f", "changed", "r", []string{"a"}, 15}}},
		"grown in one":     {m(list{small}, list{small}), m(list{small}, list{large}), []fileChange{{"/f", "changed", "r", []string{"a", "b"}, 25}}},
		"added":            {m(), m(list{small}), []fileChange{{"/f", "added", "r", []string{"a"}, 10}}},
		"removed":          {m(list{small}), m(), []fileChange{{"/f", "removed", "r", []string{"a"}, -10}}},
		"points elsewhere": {m(list{link}), m(list{elsewhere}), []fileChange{{"/l", "changed", "", []string{"a"}, 0}}},
		"largest first":    {m(list{link, large}), m(list{elsewhere}), []fileChange{{"/f", "removed", "r", []string{"a"}, -25}, {"/l", "changed", "", []string{"a"}, 0}}},
	} {
		if diff := cmp.Diff(test.want, fileChanges(test.before, test.after)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		signed(0): "±0", signed(2048): "+2.0 KiB", signed(-1): "−1 B", growth(nil): "new",
		duration(999): "1.0 ms", duration(12345): "12.3 ms", duration(2_500_000): "2.50 s",
		count(1, "file"): "1 file", count(0, "file"): "0 files", tally{Added: 2, Changed: 1}.String(): "2 added, 1 changed",
		decimals(12.5): "12.5", decimals(0): "0", decimals(100): "100", decimals(33.333): "33.33",
	} {
		if got != want {
			t.Errorf("got %q; want %q", got, want)
		}
	}
}
