package compose_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/plan/compose"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

// TestOwnProfile composes what release/profiles/own.yaml shows, from a copy elsewhere, as its reader makes one.
func TestOwnProfile(t *testing.T) {
	dir := t.TempDir()
	o := testrelease.Composing(t, dir, "")
	if err := os.CopyFS(filepath.Join(dir, "own"), os.DirFS("../../profiles/own")); err != nil {
		t.Fatal(err)
	}
	profile, err := os.ReadFile("../../profiles/own.yaml")
	if err != nil {
		t.Fatal(err)
	}
	mine := strings.Replace(string(profile), "platforms: [qemu]", "platforms: [vagrant]", 1) // the one of the test's checkout
	if err := os.WriteFile(o.Profile, []byte(mine), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := release.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Bench.Close()
	factory, err := w.Factory()
	if err != nil {
		t.Fatal(err)
	}
	c, err := compose.New(w.Bench, w.Choice, w.Base, factory, nil)
	if err != nil {
		t.Fatal(err)
	}
	extensions, err := c.Compose(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, x := range extensions {
		var files []string
		for _, e := range x.Tree {
			if e.Type == tree.File && !strings.Contains(e.Path, "extension-release") {
				files = append(files, filepath.Base(e.Path))
			}
		}
		got[x.Name.Value+" "+string(x.Enable.How)] = strings.Join(files, " ")
	}
	want := map[string]string{"hello always": "hello hello.service 10-hello.conf", "greet by-name": "greet"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
