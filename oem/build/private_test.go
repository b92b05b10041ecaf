package build

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/check/elf"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// An older suite than the tool root's, as for a base with an older glibc.
const privateRecipe = `
sources: [{deb: {suite: bookworm, packages: [jq]}}]
requires: [/usr/bin/jq, /usr/lib/oem-tool/lib/libjq.so.1]
`

// foreignRoot makes a root that is laid out as Flatcar's: libraries in /usr/lib64, found through ld.so.conf,
// and no directory or database of Debian.
func foreignRoot(t *testing.T) string {
	t.Helper()
	return foreignRootOf(t, toolroottest.Open(t))
}

// foreignRootOf makes it of another root's libraries.
func foreignRootOf(t *testing.T, tools *toolroot.Root) string {
	t.Helper()
	dir := t.TempDir()
	lib64, etc := filepath.Join(dir, "usr/lib64"), filepath.Join(dir, "usr/share/flatcar/etc")
	for _, path := range []string{filepath.Join(dir, "usr/bin"), lib64, etc} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	libraries, err := filepath.Glob(tools.Path("usr/lib/x86_64-linux-gnu/*.so*"))
	if err != nil {
		t.Fatal(err)
	}
	for to, from := range map[string][]string{lib64: libraries, filepath.Join(dir, "usr/bin"): {tools.Path("usr/bin/dash")}} {
		err := run.Run(t.Context(), run.Cmd{Program: "cp", Args: append([]string{"--archive", "--target-directory", to}, from...), Env: run.HostEnv("PATH")})
		if err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(etc, "ld.so.conf"), "/usr/lib64\n")
	for link, target := range map[string]string{"usr/bin/sh": "dash", "lib64": "usr/lib64", "etc": "usr/share/flatcar/etc"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := toolroottest.Open(t).Run(t.Context(), toolroot.Cmd{Program: "ldconfig", Args: []string{"-r", dir}, Write: []string{dir}}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func foreignBase(t *testing.T, root string) *target.Base {
	t.Helper()
	usr := filepath.Join(root, "usr")
	scanned, err := tree.Scan(usr, digest.OfReader)
	if err != nil {
		t.Fatal(err)
	}
	return &target.Base{ID: "flatcar", Arch: arch.AMD64, Usr: scanned.Below("/usr"), Dir: usr}
}

// A program of Debian is proven to run on a base that is not Debian, and runs there.
func TestDebianProgramOnForeignBase(t *testing.T) {
	b, r := fetching(t, privateRecipe)
	root := foreignRoot(t)
	b.Base = foreignBase(t, root)
	got, err := made(t, b, r, arch.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	if found := problems(t, b, got); len(found) > 0 {
		t.Errorf("problems on the foreign base: %v", found)
	}
	if below := got.Under("/usr/lib/x86_64-linux-gnu"); len(below) > 0 {
		t.Errorf("in Debian's directory: %v", below.Listing())
	}
	bare := got.Filter(func(e tree.Entry) bool { return !strings.HasPrefix(e.Path, privateDir("tool")+"/") })
	if found := problems(t, b, bare); !strings.Contains(strings.Join(found, "\n"), "needs libjq.so.1, which is not in its search path (/usr/lib/oem-tool/lib, ") {
		t.Errorf("without its libraries: %v", found)
	}

	layOut(t, b, got, root)
	write(t, filepath.Join(root, "var/lib/dpkg/status"), "")
	foreign, err := toolroot.At(root)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = foreign.Run(t.Context(), toolroot.Cmd{Program: "jq", Args: []string{"-n", `"a1" | test("[0-9]")`}, Stdout: &out})
	if err != nil || out.String() != "true\n" {
		t.Errorf("jq says %q, %v", out.String(), err)
	}
}

// TestOlderGlibc takes packages of two suites to a base with the older one's C library. Those of the newer one need more of it
// than there is.
func TestOlderGlibc(t *testing.T) {
	older, err := toolroottest.With(t, "bookworm")(t.Context(), "", []string{"dash"})
	if err != nil {
		t.Fatal(err)
	}
	root := foreignRootOf(t, older)
	for suite, fits := range map[string]bool{"bookworm": true, "trixie": false} {
		b, r := fetching(t, "sources: [{deb: {suite: "+suite+", packages: [jq]}}]\n")
		b.Base = foreignBase(t, root)
		got, err := made(t, b, r, arch.AMD64)
		if err != nil {
			t.Fatal(err)
		}
		found := strings.Join(problems(t, b, got), "\n")
		const wants = "needs version GLIBC_2.38 of libc.so.6, which /usr/lib64/libc.so.6 does not have"
		if fits == (found != "") || !fits && !strings.Contains(found, wants) {
			t.Errorf("of %s: problems %q", suite, found)
		}
	}
}

// The same for the other architecture, as far as it can be seen without running it.
func TestPrivateLibrariesOfAnotherArchitecture(t *testing.T) {
	b, r := fetching(t, privateRecipe)
	b.Base = foreignBase(t, foreignRoot(t)) // of which nothing but the place of libraries counts
	got, err := made(t, b, r, arch.ARM64)
	if err != nil {
		t.Fatal(err)
	}
	e, _ := got.Find("/usr/bin/jq")
	f, err := os.Open(b.Blobs.Path(e.SHA256))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	program, err := elf.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/usr/lib/oem-tool/lib"}, program.Runpath); diff != "" || program.Machine.String() != "EM_AARCH64" {
		t.Errorf("program is for %v\n%s", program.Machine, diff)
	}
}

// fetching returns a builder that can fetch packages, and the recipe of a checkout.
func fetching(t *testing.T, definition string) (*Builder, *recipe.Recipe) {
	t.Helper()
	tools := toolroottest.With(t, toolroot.Suite)
	b, r := builder(t, checkout(t, definition))
	b.Archive, b.Tools = toolroottest.Archive(t), tools
	return b, r
}

func problems(t *testing.T, b *Builder, content tree.Tree) []string {
	t.Helper()
	results, err := store.OpenResults(t.TempDir(), b.Blobs, nil)
	if err != nil {
		t.Fatal(err)
	}
	checker, err := check.New(b.Base, b.Blobs, results, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	found, err := checker.Tree(t.Context(), content)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, problem := range found {
		texts = append(texts, problem.String())
	}
	return texts
}

// layOut writes a tree below a directory, as merging it would show it.
func layOut(t *testing.T, b *Builder, content tree.Tree, dir string) {
	t.Helper()
	for _, e := range content {
		name := filepath.Join(dir, e.Path)
		var err error
		switch e.Type {
		case tree.Dir:
			err = os.MkdirAll(name, 0o755)
		case tree.Symlink:
			err = os.Symlink(e.Target, name)
		case tree.File:
			var file bytes.Buffer
			if err = b.Blobs.CopyTo(&file, e.SHA256); err == nil {
				err = os.WriteFile(name, file.Bytes(), os.FileMode(e.Mode))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
