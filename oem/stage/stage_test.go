package stage

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/arch"
	"github.com/flatcar/oem-sysext/oem/digest"
	"github.com/flatcar/oem-sysext/oem/platform"
	"github.com/flatcar/oem-sysext/oem/recipe"
	"github.com/flatcar/oem-sysext/oem/strictyaml"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
)

var (
	azure = &platform.Platform{ID: strictyaml.Text{Value: "azure"}, Name: "Microsoft Azure", Homepage: "https://azure.example", File: "platforms/azure.yaml"}
	base  = &target.Base{
		ID: "flatcar", VersionID: "1.2.3", Arch: arch.AMD64,
		Usr: files("/usr/bin/sh", "shell", "/usr/lib/libc.so", "c"),
	}
)

// files makes a tree of path, content, path, content …
func files(pairs ...string) tree.Tree {
	var entries []tree.Entry
	seen := map[string]bool{}
	for pair := range slices.Chunk(pairs, 2) {
		for i, c := range pair[0] {
			if dir := pair[0][:i]; c == '/' && i > 0 && !seen[dir] {
				seen[dir] = true
				entries = append(entries, tree.Entry{Path: dir, Type: tree.Dir, Mode: 0o755})
			}
		}
		entries = append(entries, tree.Entry{
			Path: pair[0], Type: tree.File, Mode: 0o644, Size: int64(len(pair[1])), SHA256: digest.Of([]byte(pair[1])),
		})
	}
	return tree.Sorted(entries)
}

func part(name string, content tree.Tree) Part {
	return Part{&recipe.Recipe{Name: strictyaml.Text{Value: name}, File: "recipes/" + name + "/recipe.yaml"}, content}
}

func keep(content string) (digest.SHA256, error) { return digest.Of([]byte(content)), nil }

func TestStage(t *testing.T) {
	got, err := Stage(azure, []Part{
		part("a", files("/usr/bin/a", "a", "/usr/lib/shared", "same", "/usr/lib/libc.so", "c")),
		part("b", files("/usr/bin/b", "b", "/usr/lib/shared", "same")),
	}, base, keep)
	if err != nil {
		t.Fatal(err)
	}
	release := "ID=flatcar\nVERSION_ID=1.2.3\nARCHITECTURE=x86-64\nEXTENSION_RELOAD_MANAGER=1\nSYSEXT_ID=oem-azure\n" +
		"SYSEXT_NAME=\"Microsoft Azure OEM tools\"\nSYSEXT_VERSION_ID=1.2.3\nSYSEXT_HOME_URL=\"https://azure.example\"\n"
	want := files("/usr/bin/a", "a", "/usr/bin/b", "b", "/usr/lib/shared", "same",
		"/usr/lib/extension-release.d/extension-release.oem-azure", release)
	if diff := cmp.Diff(want.Listing(), got.Tree.Listing()); diff != "" {
		t.Error(diff)
	}
	if len(got.Dropped) != 1 || got.Dropped[0].Path != "/usr/lib/libc.so" {
		t.Errorf("dropped %v", got.Dropped)
	}
}

func TestReplaces(t *testing.T) {
	p := part("a", files("/usr/bin/sh", "my shell"))
	p.Recipe.Replaces = []recipe.Path{"/usr/bin/sh"}
	if _, err := Stage(azure, []Part{p}, base, keep); err != nil {
		t.Error(err)
	}
}

func TestEveryProblemAtOnce(t *testing.T) {
	wanting := *azure
	wanting.ActiveUnits = []strictyaml.Text{{Value: "agent.service", Line: 7}}
	opaque := files("/usr/lib/hidden/x", "x")
	for i := range opaque {
		if opaque[i].Path == "/usr/lib/hidden" {
			opaque[i].Xattrs = map[string][]byte{"trusted.overlay.opaque": []byte("y")}
		}
	}
	_, err := Stage(&wanting, []Part{
		part("a", files("/usr/bin/tool", "one", "/usr/bin/sh", "my shell", "/etc/passwd", "x")),
		part("b", files("/usr/bin/tool", "two", "/usr/lib/os-release", "ID=x")),
		part("c", opaque),
	}, base, keep)
	var problems *Problems
	if !errors.As(err, &problems) {
		t.Fatalf("error is %v", err)
	}
	for _, want := range []string{
		"a and b both have /usr/bin/tool",
		"recipes/a/recipe.yaml, recipes/b/recipe.yaml",
		"a has /usr/bin/sh, which the base has differently",
		"/etc/passwd is outside /usr",
		"/usr/lib/os-release makes systemd refuse",
		"/usr/lib/hidden has the xattr trusted.overlay.opaque",
		"platforms/azure.yaml:7: no unit agent.service",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no problem %q in %v", want, err)
		}
	}
}

func TestQuote(t *testing.T) {
	for value, want := range map[string]string{"1.2.3": "1.2.3", "a b": `"a b"`, `a"$b`: `"a\"\$b"`, "`x`\\": "\"\\`x\\`\\\\\""} {
		if got := quote(value); got != want {
			t.Errorf("quote(%q) = %s; want %s", value, got, want)
		}
	}
}
