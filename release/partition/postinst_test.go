package partition

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/partition/integrate"
)

// Flatcar's postinst is edited where the base has it, unless it is to be left alone; one in another form stops the release.
func TestPostinst(t *testing.T) {
	known, err := os.ReadFile("../bases/base/files/root/usr/bin/flatcar-postinst")
	if err != nil {
		t.Fatal(err)
	}
	earlier, err := integrate.Postinst.Edit("an earlier release's", known)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path, script string
		kind         tree.Type
		alone        bool
		files        int
		says         string
	}{
		"known":          {"bin/flatcar-postinst", string(known), tree.File, false, 2, ""},
		"in sbin":        {"sbin/flatcar-postinst", string(known), tree.File, false, 2, ""},
		"left alone":     {"bin/flatcar-postinst", "#!/bin/sh\n", tree.File, true, 0, ""},
		"as it was":      {"bin/flatcar-postinst", string(earlier), tree.File, true, 1, ""},
		"none":           {"bin/sh", "", tree.File, false, 0, ""},
		"a link":         {"bin/flatcar-postinst", "", tree.Symlink, false, 0, ""},
		"another form":   {"bin/flatcar-postinst", "#!/bin/sh\n", tree.File, false, 0, integrate.Env + "=0 leaves"},
		"not even there": {"bin/flatcar-postinst", "", tree.File, false, 0, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bases.Base{
				Base:   base.Base{Usr: t.TempDir()},
				Target: &target.Base{Usr: tree.Tree{{Path: "/usr/" + c.path, Type: c.kind}}},
			}
			if c.script != "" {
				path := filepath.Join(b.Usr, c.path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(c.script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			files, err := Content{Integrate: !c.alone}.postinst(b)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error is %v; wanted %q", err, c.says)
				}
			} else if err != nil || len(files) != c.files {
				t.Errorf("%d files, %v; wanted %d", len(files), err, c.files)
			}
		})
	}
}
