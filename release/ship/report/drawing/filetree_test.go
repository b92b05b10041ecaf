package drawing

import (
	"encoding/json"
	"testing"

	"github.com/flatcar/oem-sysext/release/format/manifest"
)

func TestFileTree(t *testing.T) {
	for name, test := range map[string]struct {
		contents []manifest.Content
		want     string // the root's name and what is in it
	}{
		"nothing":                {nil, `"" []`},
		"no room":                {[]manifest.Content{{Path: "/usr/bin/link", Target: "x"}, {Path: "/usr/bin/empty"}}, `"" []`},
		"one":                    {[]manifest.Content{{Path: "/usr/bin/a", Size: 3}}, `"usr/bin" [["a",3]]`},
		"largest first":          {[]manifest.Content{{Path: "/usr/a", Size: 1}, {Path: "/usr/b", Size: 2}, {Path: "/usr/c", Size: 2}}, `"usr" [["b",2],["c",2],["a",1]]`},
		"joined":                 {[]manifest.Content{{Path: "/usr/a", Size: 1}, {Path: "/usr/lib/x/y/b", Size: 2}, {Path: "/usr/lib/x/y/c", Size: 1}}, `"usr" [["lib/x/y",[["b",2],["c",1]]],["a",1]]`},
		"a file is no directory": {[]manifest.Content{{Path: "/usr/d/f", Size: 1}}, `"usr/d" [["f",1]]`},
	} {
		root := FileTree(test.contents)
		got, err := json.Marshal(root.Children)
		if err != nil {
			t.Fatal(err)
		}
		if got := `"` + root.Name + `" ` + string(got); got != test.want {
			t.Errorf("%s: got %s; want %s", name, got, test.want)
		}
	}
}
