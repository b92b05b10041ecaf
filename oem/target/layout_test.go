package target

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/tree"
)

func entries(lines ...string) tree.Tree {
	var all []tree.Entry
	for _, line := range lines {
		name, what, _ := strings.Cut(line, " ")
		e := tree.Entry{Path: name, Type: tree.Dir, Mode: 0o755}
		if link, isLink := strings.CutPrefix(what, "-> "); isLink {
			e.Type, e.Mode, e.Target = tree.Symlink, 0o777, link
		} else if what != "" {
			e.Type, e.SHA256 = tree.File, digest.Of([]byte(what))
		}
		all = append(all, e)
	}
	return tree.Sorted(all)
}

// base is laid out as Flatcar is since 4152: /usr/sbin is a link.
var base = &Base{Name: "flatcar", Usr: entries("/usr", "/usr/bin", "/usr/bin/bash x", "/usr/sbin -> bin", "/usr/lib", "/usr/lib64",
	"/usr/lib64/libc.so.6 c", "/usr/abs -> /usr/lib", "/usr/tmp -> /var/tmp", "/usr/a -> b", "/usr/b -> a", "/usr/twice -> sbin")}

func TestLay(t *testing.T) {
	for _, test := range []struct {
		name     string
		in, want tree.Tree
	}{
		{"nothing to move", entries("/usr", "/usr/bin", "/usr/bin/x x"), entries("/usr", "/usr/bin", "/usr/bin/x x")},
		{"through a link, whose directory comes", entries("/usr", "/usr/sbin", "/usr/sbin/x x"), entries("/usr", "/usr/bin", "/usr/bin/x x")},
		{"through two links", entries("/usr", "/usr/twice", "/usr/twice/x x"), entries("/usr", "/usr/bin", "/usr/bin/x x")},
		{"through an absolute link, with a new directory", entries("/usr", "/usr/abs", "/usr/abs/d", "/usr/abs/d/x x"),
			entries("/usr", "/usr/lib", "/usr/lib/d", "/usr/lib/d/x x")},
		{"a link that would lead to itself", entries("/usr", "/usr/bin", "/usr/bin/x -> ../sbin/x", "/usr/sbin", "/usr/sbin/x x"),
			entries("/usr", "/usr/bin", "/usr/bin/x x")},
		{"links that move still lead where they did",
			entries("/usr", "/usr/abs", "/usr/abs/d", "/usr/abs/d/l -> ../../sbin/x", "/usr/abs/m -> n", "/usr/sbin", "/usr/sbin/x x", "/usr/sbin/y -> x"),
			entries("/usr", "/usr/bin", "/usr/bin/x x", "/usr/bin/y -> x", "/usr/lib", "/usr/lib/d", "/usr/lib/d/l -> ../../bin/x", "/usr/lib/m -> n")},
		{"links out of /usr and in circles stay", entries("/usr", "/usr/a", "/usr/a/x x", "/usr/tmp", "/usr/tmp/x x"),
			entries("/usr", "/usr/a", "/usr/a/x x", "/usr/tmp", "/usr/tmp/x x")},
		{"the same twice", entries("/usr", "/usr/bin", "/usr/bin/x x", "/usr/sbin", "/usr/sbin/x x"), entries("/usr", "/usr/bin", "/usr/bin/x x")},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := base.Lay(test.in)
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
	_, err := base.Lay(entries("/usr", "/usr/bin", "/usr/bin/x x", "/usr/sbin", "/usr/sbin/x y"))
	if err == nil || !strings.Contains(err.Error(), "/usr/sbin/x moves to /usr/bin/x, which exists with other content; prune one") {
		t.Errorf("two things at one path: %v", err)
	}
}

func TestWhatABaseHas(t *testing.T) {
	for name, want := range map[string]bool{"/usr/bin/bash": true, "/usr/sbin/bash": true, "/usr/sbin": true, "/usr/sbin/x": false, "/etc/x": false} {
		if got := base.Has(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if dir, err := base.LibraryDir(); dir != "/usr/lib64" || err != nil {
		t.Errorf("libraries are in %s, %v", dir, err)
	}
	if _, err := (&Base{Name: "x"}).LibraryDir(); err == nil {
		t.Error("a base without a C library has a place for libraries")
	}
}
