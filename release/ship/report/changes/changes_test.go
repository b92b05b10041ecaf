package changes

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/image/rung"
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

// TestImageChanges tells content, packing and the version of the release apart.
func TestImageChanges(t *testing.T) {
	stamp := func(version string) manifest.Content {
		return file(stampDir+"extension-release.oem-a", version, "", 60)
	}
	image := func(packed string, r rung.Rung, contents ...manifest.Content) *manifest.Manifest {
		return &manifest.Manifest{Images: []manifest.Image{{Name: "oem-a", SHA256: digest.Of([]byte(packed)), Rung: r, Contents: contents}}}
	}
	tool, other := file("/usr/bin/a", "1", "a", 5), file("/usr/bin/a", "2", "a", 5)
	before := image("1", rung.Default, tool, stamp("1"))
	for name, test := range map[string]struct {
		after   *manifest.Manifest
		how     string
		stamped int
	}{
		"same":                    {image("1", rung.Default, tool, stamp("1")), "", 0},
		"version":                 {image("2", rung.Default, tool, stamp("2")), "", 1},
		"content":                 {image("2", rung.Default, other, stamp("1")), changed, 0},
		"content and version":     {image("2", rung.Default, other, stamp("2")), changed, 0},
		"another rung":            {image("2", rung.Rung{Filesystem: rung.EROFS}, tool, stamp("1")), repacked, 0},
		"another rung, version":   {image("2", rung.Rung{Filesystem: rung.EROFS}, tool, stamp("2")), repacked, 0},
		"an image that is gone":   {&manifest.Manifest{}, "removed", 0},
		"a file more":             {image("2", rung.Default, tool, file("/usr/bin/b", "1", "a", 1), stamp("1")), changed, 0},
		"a link leads elsewhere":  {image("2", rung.Default, manifest.Content{Path: "/usr/bin/a", Target: "b"}, stamp("1")), changed, 0},
		"stamped, but not a file": {image("2", rung.Default, tool), "", 1},
	} {
		got := Between(before, test.after)
		var how string
		if len(got.Images) > 0 {
			how = got.Images[0].How
		}
		if how != test.how || len(got.Stamped) != test.stamped {
			t.Errorf("%s: changes are %+v", name, got)
		}
		for _, f := range got.Files {
			if isStamp(f.Path) {
				t.Errorf("%s: %s is a changed file", name, f.Path)
			}
		}
	}
}
