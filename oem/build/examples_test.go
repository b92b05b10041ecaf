package build

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition"
	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/oem/tree"
)

var update = flag.Bool("update", false, "write the lock files of recipes/examples")

const examples = "../../recipes/examples"

// published returns a mirror with all of testdata/upstream: what the addresses of the examples lead to.
func published(t *testing.T) *mirror {
	t.Helper()
	m := newMirror(t)
	upstream := os.DirFS("testdata/upstream")
	err := fs.WalkDir(upstream, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			m.files["/"+name], err = fs.ReadFile(upstream, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var assets []string
	for _, a := range arch.All {
		file := fmt.Sprintf("/hub/owner/hello/releases/download/v1.0.0/hello_1.0.0_linux_%s.tar.gz", a)
		assets = append(assets, fmt.Sprintf(`{"name": %q, "size": %d, "browser_download_url": %q}`, path.Base(file), len(m.files[file]), m.address+file))
	}
	m.files["/api/repos/owner/hello/releases/tags/v1.0.0"] = fmt.Appendf(nil, `{"assets": [%s]}`, strings.Join(assets, ","))
	return m
}

// exampleOf copies an example to a checkout, with example.org at the mirror. Nothing else is changed.
func (m *mirror) exampleOf(t *testing.T, name string) (*Builder, *recipe.Recipe) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "recipes", name), os.DirFS(filepath.Join(examples, name))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "recipes", name, recipe.FileName)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, strings.ReplaceAll(string(content), "address: https://example.org", "address: "+m.address))
	b, _ := m.over(t, dir)
	b.Tools, b.Epoch = toolroottest.With(t, toolroot.Suite), time.Unix(7, 0)
	set, mistakes := recipe.Load(os.DirFS(dir), "recipes")
	if err := mistakes.Err(); err != nil {
		t.Fatal(err)
	}
	return b, set[name]
}

// lockOf makes the lock file of a recipe, or returns nothing if it needs none.
func lockOf(t *testing.T, b *Builder, r *recipe.Recipe) []byte {
	t.Helper()
	var l lock.Lock
	for _, source := range r.Sources {
		if source.URL != nil || source.Dir != nil { // verified by the recipe itself
			continue
		}
		for _, a := range r.Arches {
			pins, err := b.Look(t.Context(), r, source, a)
			if err != nil {
				t.Fatal(err)
			}
			base := ""
			if source.DependsOnBase(false) {
				base = b.Base.Name
			}
			l.Set(source.Question(false), base, a, pins)
		}
	}
	if len(l.Sources) == 0 {
		return nil
	}
	content, err := l.Encode(r.Name.Value)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestExamples builds the examples of the recipes' guide from what a server has.
func TestExamples(t *testing.T) {
	want := map[string]string{
		"hello-binpkg": "/usr/bin/hello hello from Gentoo",
		"hello-github": "/usr/bin/hello hello from ARCH",
		"hello-script": "/usr/bin/hello hello from ARCH, moin from ARCH",
		"hello-url":    "/usr/bin/hello hello from ARCH, /usr/lib/systemd/system/hello.service, /usr/lib/systemd/system/multi-user.target.d/10-hello-url.conf",
	}
	entries, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name := entry.Name()
		t.Run(name, func(t *testing.T) {
			b, r := published(t).exampleOf(t, name)
			lockFile := filepath.Join(examples, name, lock.FileName)
			locked := lockOf(t, b, r)
			if *update && locked != nil {
				write(t, lockFile, string(locked))
			}
			if there, _ := os.ReadFile(lockFile); !bytes.Equal(there, locked) {
				t.Errorf("run with -update if that is right: %s", cmp.Diff(string(there), string(locked)))
			}
			b.Locked = locked != nil
			for _, a := range r.Arches {
				built, err := made(t, b, r, a)
				if err != nil {
					t.Fatal(err)
				}
				said := says(t, b, built)
				for _, native := range []string{"x86_64", "aarch64", "amd64", "arm64"} {
					said = strings.ReplaceAll(said, "from "+native, "from ARCH")
				}
				if diff := cmp.Diff(want[name], said); diff != "" {
					t.Errorf("%s: %s", a, diff)
				}
			}
			if want[name] == "" {
				t.Error("no expectation")
			}
		})
	}
}

// says lists the files of a tree, with what a shell script prints.
func says(t *testing.T, b *Builder, built tree.Tree) string {
	t.Helper()
	var files []string
	for _, e := range built {
		if e.Type != tree.File {
			continue
		}
		var content bytes.Buffer
		if err := b.Blobs.CopyTo(&content, e.SHA256); err != nil {
			t.Fatal(err)
		}
		line := e.Path
		if text, script := strings.CutPrefix(content.String(), "#!/bin/sh\n"); script {
			line += " " + strings.Join(strings.FieldsFunc(strings.ReplaceAll(text, "echo ", ""), func(r rune) bool { return strings.ContainsRune("\"'\n", r) }), ", ")
		}
		files = append(files, line)
	}
	return strings.Join(files, ", ")
}

// TestExamplesAreNotInReleases says that they are no part of the catalogue.
func TestExamplesAreNotInReleases(t *testing.T) {
	_, all, err := definition.All(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for name := range all {
		if strings.HasPrefix(name, "hello-") || name == "examples" {
			t.Errorf("%s is a recipe of the catalogue", name)
		}
	}
}
