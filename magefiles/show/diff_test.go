package show

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/release/care"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

func TestDiff(t *testing.T) {
	content := func(path string, size int64) *manifest.Content { return &manifest.Content{Path: path, Size: size} }
	files := []care.FileChange{
		{Was: content("/usr/bin/changed", 1), Is: content("/usr/bin/changed", 3)},
		{Was: content("/usr/bin/gone", 2048)},
		{Was: content("/usr/bin/link", 0), Is: content("/usr/bin/link", 0)},
		{Is: content("/usr/bin/new", 1)},
	}
	inputs := []care.InputChange{
		{Was: &input.Input{Kind: "deb", Name: "a", Version: "1"}, Is: &input.Input{Kind: "deb", Name: "a", Version: "2"}},
		{Was: &input.Input{Kind: "deb", Name: "gone", Version: "1"}},
		{Is: &input.Input{Kind: "file", Name: "agent/unit", Digest: "sha256:01"}},
	}
	for _, c := range []struct {
		diff care.RecipeDiff
		want string
	}{
		{care.RecipeDiff{Recipe: "agent", Since: "1.0.0", Files: files}, `agent since release 1.0.0: 0 inputs and 4 files differ
~ /usr/bin/changed  1 B → 3 B
- /usr/bin/gone     2.0 KiB
~ /usr/bin/link     0 B → 0 B
+ /usr/bin/new      1 B
`},
		{care.RecipeDiff{Recipe: "agent", Since: "1.0.0", Inputs: inputs}, `agent since release 1.0.0: 3 inputs and 0 files differ
~ deb a            1 → 2
- deb gone         1
+ file agent/unit  sha256:01
`},
		{care.RecipeDiff{Recipe: "agent", Since: "1.0.0"}, "agent is the same as in release 1.0.0\n"},
	} {
		var out bytes.Buffer
		if err := Diff(Output{Writer: &out}, &c.diff); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, out.String()); diff != "" {
			t.Error(diff)
		}
	}
}
