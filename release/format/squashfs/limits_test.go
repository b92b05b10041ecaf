package squashfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
)

// A small image may hold much.
func TestLimits(t *testing.T) {
	needs.Root(t)
	tools, dir := toolroottest.Open(t), t.TempDir()
	tree, image := filepath.Join(dir, "tree"), filepath.Join(dir, "image")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, length := range map[string]int64{"hole": 6 << 30, "a": 5, "b\n-rw": 5} {
		if err := os.WriteFile(filepath.Join(tree, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(tree, name), length); err != nil {
			t.Fatal(err)
		}
	}
	if err := tools.Run(t.Context(), toolroot.Cmd{
		Program: "mksquashfs", Args: []string{tree, image, "-quiet", "-no-progress"}, Read: []string{tree}, Write: []string{dir},
	}); err != nil {
		t.Fatal(err)
	}
	for want, limits := range map[string]Limits{
		"":                               {10, 7 * size.GiB},
		"unpacks to more than 6.0 GiB":   {10, 6 * size.GiB},
		"unpacks to more than 2 entries": {2, 7 * size.GiB},
	} {
		if err := limits.Check(t.Context(), tools, image); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; wanted %q", err, want)
		}
	}
}
