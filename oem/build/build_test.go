package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tools/golang"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// checkout writes recipes/tool with its definition and files, given as path, content, path, content …
func checkout(t *testing.T, definition string, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "recipes/tool/recipe.yaml"), "name: tool\nsummary: s\nhomepage: https://example.org\nlicense: MIT\narches: [amd64, arm64]\nmax_size: 1 MiB\n"+definition)
	for i := 0; i < len(files); i += 2 {
		write(t, filepath.Join(dir, "recipes/tool", files[i]), files[i+1])
	}
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// builder returns a builder without an archive, and the recipe of the checkout.
func builder(t *testing.T, dir string) (*Builder, *recipe.Recipe) {
	t.Helper()
	blobs, err := store.OpenBlobs(t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	results, err := store.OpenResults(t.TempDir(), blobs, nil)
	if err != nil {
		t.Fatal(err)
	}
	toolchain, err := golang.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &Builder{
		Checkout: dir, Go: toolchain, Base: &target.Base{}, Blobs: blobs, Results: results, Scratch: t.TempDir(),
	}, load(t, dir)
}

func load(t *testing.T, dir string) *recipe.Recipe {
	t.Helper()
	set, mistakes := recipe.Load(os.DirFS(dir), "recipes")
	if err := mistakes.Err(); err != nil {
		t.Fatal(err)
	}
	return set["tool"]
}

func made(t *testing.T, b *Builder, r *recipe.Recipe, a arch.Arch) (tree.Tree, error) {
	t.Helper()
	resolved, err := b.Resolve(t.Context(), r, a)
	if err != nil {
		return nil, err
	}
	return b.Tree(t.Context(), resolved)
}

func TestFiles(t *testing.T) {
	dir := checkout(t, `
sources: [{dir: {path: conf, to: /usr/share/tool}}]
files: files
units: {upholds: {multi-user.target: [a.service, b.service]}}
prune: ["/usr/share/tool/**/*.bak"]
requires: [/usr/bin/run]
`, "conf/deep/tool.conf", "conf", "conf/deep/tool.bak", "bak", "files/usr/bin/run", "#!/bin/sh\n",
		"files/usr/share/doc/tool/README", "doc", "files/etc/passwd", "out of place")
	if err := os.Chmod(filepath.Join(dir, "recipes/tool/files/usr/bin/run"), 0o700); err != nil {
		t.Fatal(err)
	}
	defer unix.Umask(unix.Umask(0o077))
	b, r := builder(t, dir)
	got, err := made(t, b, r, arch.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(path string, mode uint32, content string) tree.Entry {
		return tree.Entry{Path: path, Type: tree.File, Mode: mode, Size: int64(len(content)), SHA256: digest.Of([]byte(content))}
	}
	dirs := func(paths ...string) (t tree.Tree) {
		for _, path := range paths {
			t = append(t, tree.Entry{Path: path, Type: tree.Dir, Mode: 0o755})
		}
		return t
	}
	want := append(dirs("/usr", "/usr/bin", "/usr/lib", "/usr/lib/systemd", "/usr/lib/systemd/system",
		"/usr/lib/systemd/system/multi-user.target.d", "/usr/share", "/usr/share/tool", "/usr/share/tool/deep"),
		entry("/usr/bin/run", 0o755, "#!/bin/sh\n"),
		entry("/usr/lib/systemd/system/multi-user.target.d/10-tool.conf", 0o644, "[Unit]\nUpholds=a.service b.service\n"),
		entry("/usr/share/tool/deep/tool.conf", 0o644, "conf"),
	)
	if diff := cmp.Diff(tree.Sorted(want).Listing(), got.Listing()); diff != "" {
		t.Error(diff)
	}
}

// Programs in Perl have most of their modules beside documentation and translations.
func TestModulesOfPerlStay(t *testing.T) {
	b, r := builder(t, checkout(t, "files: files\n", "files/usr/share/perl5/Tool.pm", "1;\n", "files/usr/share/man/man1/tool.1", ""))
	got, err := made(t, b, r, arch.AMD64)
	if _, has := got.Find("/usr/share/perl5/Tool.pm"); err != nil || !has || got.Files() != 1 {
		t.Errorf("%v, %v", got.Listing(), err)
	}
}

func TestChangedFileIsNoticed(t *testing.T) {
	dir := checkout(t, "files: files\n", "files/usr/share/tool/a", "one")
	b, r := builder(t, dir)
	first, err := made(t, b, r, arch.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "recipes/tool/files/usr/share/tool/a"), "two")
	second, err := made(t, b, r, arch.AMD64)
	if err != nil || cmp.Equal(first, second) {
		t.Errorf("a changed file gave the tree of before, %v", err)
	}
	write(t, filepath.Join(dir, "recipes/tool/recipe.yaml"), "name: tool\nsummary: s\nhomepage: https://example.org\nlicense: MIT\narches: [amd64]\nmax_size: 1 MiB\nfiles: files\nprune: [/usr/share/tool/a]\n")
	third, err := made(t, b, load(t, dir), arch.AMD64)
	if err != nil || third.Files() != 0 {
		t.Errorf("a changed recipe gave %v, %v", third, err)
	}
}

func TestRequires(t *testing.T) {
	b, r := builder(t, checkout(t, "files: files\nrequires: [/usr/bin/tool, /usr/bin/other]\n", "files/usr/bin/tool", ""))
	_, err := made(t, b, r, arch.AMD64)
	if err == nil || !strings.Contains(err.Error(), "recipes/tool/recipe.yaml: requires /usr/bin/other") || strings.Contains(err.Error(), "bin/tool") {
		t.Errorf("error is %v", err)
	}
}

// A small module that the project itself depends on, so it is there.
const goRecipe = `
sources: [{go: {module: github.com/magefile/mage, version: v1.17.2, sum: "SUM"}}]
build: {go: [{package: ., to: /usr/bin/mage}]}
`

func TestGoProgram(t *testing.T) {
	sums, err := os.ReadFile("../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(sums), "github.com/magefile/mage v1.17.2 ")
	sum, _, _ := strings.Cut(rest, "\n")
	b, r := builder(t, checkout(t, strings.Replace(goRecipe, "SUM", sum, 1)))
	defer unix.Umask(unix.Umask(0o077))
	magic := map[arch.Arch]string{arch.AMD64: "\x3e\x00", arch.ARM64: "\xb7\x00"} // e_machine, elf(5)
	for a, machine := range magic {
		got, err := made(t, b, r, a)
		if err != nil {
			t.Fatal(err)
		}
		program, there := got.Find("/usr/bin/mage")
		if !there || program.Mode != 0o755 {
			t.Fatalf("program is %v", program)
		}
		var content strings.Builder
		if err := b.Blobs.CopyTo(&content, program.SHA256); err != nil {
			t.Fatal(err)
		}
		if got := content.String(); got[:4] != "\x7fELF" || got[18:20] != machine || strings.Contains(got, os.Getenv("HOME")+"/") {
			t.Errorf("%s: machine %q, or a path of this host", a, got[18:20])
		}
	}
}

func TestGoModuleWithAnotherSum(t *testing.T) {
	b, r := builder(t, checkout(t, strings.Replace(goRecipe, "SUM", "h1:AAAA", 1)))
	if _, err := made(t, b, r, arch.AMD64); err == nil || !strings.Contains(err.Error(), "wanted h1:AAAA as in the recipe") {
		t.Errorf("error is %v", err)
	}
}
