package compose

import (
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/tree"
)

// What the release puts into /usr itself is not hidden by an extension.
func TestInTheWay(t *testing.T) {
	c := &Composer{own: []string{
		"/usr/share/flatcar/oem-sysext", "/usr/bin/oem-sysext", "/usr/lib/flatcar/oem-sysext-link",
		"/usr/lib/systemd/system/oem-sysext-link.service", "/usr/share/flatcar/update.conf",
	}}
	for path, e := range map[string]tree.Entry{
		"":                                      {Path: "/usr/share/flatcar", Type: tree.Dir},
		" ":                                     {Path: "/usr/share/flatcar/update.conf2", Type: tree.File},
		"/usr/share/flatcar/update.conf":        {Path: "/usr/share/flatcar/update.conf", Type: tree.File},
		"/usr/lib/flatcar/oem-sysext-link":      {Path: "/usr/lib/flatcar", Type: tree.Symlink, Target: "/opt"},
		"/usr/share/flatcar/oem-sysext":         {Path: "/usr/share/flatcar/oem-sysext/mine.raw", Type: tree.File},
		"/usr/bin/oem-sysext, which":            {Path: "/usr/bin/oem-sysext", Type: tree.Dir},
		"system/oem-sysext-link.service, which": {Path: "/usr/lib/systemd/system/oem-sysext-link.service", Type: tree.File},
	} {
		got := strings.Join(c.inTheWay(tree.Tree{e}), "; ")
		if want := strings.TrimSpace(path); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%v: %q; wanted %q", e, got, want)
		}
	}
}
