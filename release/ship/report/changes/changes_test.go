package changes

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

func TestInputChanges(t *testing.T) {
	one, other := "sha256:0123456789abcdef", "sha256:fedcba9876543210"
	for name, test := range map[string]struct {
		before, after input.Input
		want          []Thing
	}{
		"same":        {input.Input{Kind: "deb", Name: "a", Version: "1", Digest: one}, input.Input{Kind: "deb", Name: "a", Version: "1", Digest: one}, nil},
		"new version": {input.Input{Kind: "deb", Name: "a", Version: "1", Digest: one}, input.Input{Kind: "deb", Name: "a", Version: "2", Digest: other}, []Thing{{"deb", "a", "1", "2"}}},
		"rebuilt":     {input.Input{Kind: "deb", Name: "a", Version: "1", Digest: one}, input.Input{Kind: "deb", Name: "a", Version: "1", Digest: other}, []Thing{{"deb", "a", "sha256:0123456789ab", "sha256:fedcba987654"}}},
		"no version":  {input.Input{Kind: "file", Name: "a", Digest: one}, input.Input{Kind: "file", Name: "a", Digest: "h1:short"}, []Thing{{"file", "a", "sha256:0123456789ab", "h1:short"}}},
		"another one": {input.Input{Kind: "deb", Name: "a", Version: "1"}, input.Input{Kind: "go", Name: "a", Version: "1"}, []Thing{{"deb", "a", "1", ""}, {"go", "a", "", "1"}}},
	} {
		got := inputChanges([]input.Input{test.before}, []input.Input{test.after})
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func file(path, version, recipe string, n int64) manifest.Content {
	return manifest.Content{Path: path, Size: n, SHA256: digest.Of([]byte(path + version)), Recipe: recipe}
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
		want          []File
	}{
		"moved":            {m(list{small}, nil), m(nil, list{small}), nil},
		"repeated":         {m(list{small}), m(list{small}, list{small}), nil},
		"grown":            {m(list{small}), m(list{large}), []File{{"/f", "changed", "r", []string{"a"}, 15}}},
		"grown in one":     {m(list{small}, list{small}), m(list{small}, list{large}), []File{{"/f", "changed", "r", []string{"a", "b"}, 25}}},
		"added":            {m(), m(list{small}), []File{{"/f", "added", "r", []string{"a"}, 10}}},
		"removed":          {m(list{small}), m(), []File{{"/f", "removed", "r", []string{"a"}, -10}}},
		"points elsewhere": {m(list{link}), m(list{elsewhere}), []File{{"/l", "changed", "", []string{"a"}, 0}}},
		"largest first":    {m(list{link, large}), m(list{elsewhere}), []File{{"/f", "removed", "r", []string{"a"}, -25}, {"/l", "changed", "", []string{"a"}, 0}}},
	} {
		if diff := cmp.Diff(test.want, fileChanges(test.before, test.after)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestTally(t *testing.T) {
	if got, want := (Tally{Added: 2, Changed: 1}).String(), "2 added, 1 changed"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}
