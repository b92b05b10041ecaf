package build

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/check/elf"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
)

// compilers are packages for scripts. All tests take the same, which are unpacked once.
const compilers = "gcc, libc6-dev, gcc-aarch64-linux-gnu, libc6-dev-arm64-cross"

const cRecipe = `
sources: [{dir: {path: conf, to: /usr/share/tool}}]
build:
  script:
    run: build/build.sh
    packages: [` + compilers + `]
    timeout: 1m
files: files
requires: [/usr/bin/tool]
`

const cScript = `#!/bin/sh
set -eu
mkdir -p "$OUT/usr/bin" "$OUT/usr/share/tool"
"$TRIPLET-gcc" -O2 -s -o "$OUT/usr/bin/tool" "$RECIPE/tool.c"
tr a-z A-Z < "$SOURCES/usr/share/tool/tool.conf" > "$OUT/usr/share/tool/loud.conf"
echo "$SOURCE_DATE_EPOCH" > "$OUT/usr/share/tool/time"
echo x > "$OUT/outside"
`

const cSource = `
#include <stdio.h>
int main(void) { puts("built from source"); }
`

// scripted returns a builder and the recipe of a checkout whose script can be run.
func scripted(t *testing.T, dir string) (*Builder, *recipe.Recipe) {
	t.Helper()
	if err := os.Chmod(filepath.Join(dir, "recipes/tool/build/build.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	b, r := builder(t, dir)
	b.Tools = toolroottest.With(t, toolroot.Suite)
	b.Epoch = time.Unix(7, 0)
	return b, r
}

// A C program is compiled from source for both architectures, and the native one runs.
func TestScriptBuildsFromSource(t *testing.T) {
	b, r := scripted(t, checkout(t, cRecipe, "build/build.sh", cScript, "build/tool.c", cSource,
		"conf/tool.conf", "quiet", "files/usr/share/tool/beside", "beside"))
	for a, machine := range map[arch.Arch]string{arch.AMD64: "EM_X86_64", arch.ARM64: "EM_AARCH64"} {
		got, err := made(t, b, r, a)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		contents := map[string]string{}
		for _, e := range got {
			var content bytes.Buffer
			if e.Type == "-" {
				names = append(names, e.Path)
				if err := b.Blobs.CopyTo(&content, e.SHA256); err != nil {
					t.Fatal(err)
				}
			}
			contents[e.Path] = content.String()
		}
		if got, want := strings.Join(names, " "), "/usr/bin/tool /usr/share/tool/beside /usr/share/tool/loud.conf /usr/share/tool/time"; got != want {
			t.Errorf("made %s; want %s", got, want)
		}
		if contents["/usr/share/tool/loud.conf"] != "QUIET" || contents["/usr/share/tool/time"] != "7\n" {
			t.Errorf("contents are %q", contents)
		}
		program, err := elf.Read(strings.NewReader(contents["/usr/bin/tool"]))
		if err != nil || program.Machine.String() != machine || program.Needed[0] != "libc.so.6" {
			t.Errorf("%s: program is %+v, %v", a, program, err)
		}
		again, err := b.make(t.Context(), resolved(t, b, r, a))
		if err != nil || again.Listing() != got.Listing() {
			t.Errorf("%s: a second run made\n%s%v", a, again.Listing(), err)
		}
	}
	native, _ := made(t, b, r, arch.AMD64)
	program := filepath.Join(t.TempDir(), "tool")
	e, _ := native.Find("/usr/bin/tool")
	content, err := os.ReadFile(b.Blobs.Path(e.SHA256))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, content, 0o700); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = toolroottest.Open(t).Run(t.Context(), toolroot.Cmd{Program: program, Read: []string{program}, Stdout: &out})
	if err != nil || out.String() != "built from source\n" {
		t.Errorf("the program says %q, %v", out.String(), err)
	}
}

func resolved(t *testing.T, b *Builder, r *recipe.Recipe, a arch.Arch) *Resolved {
	t.Helper()
	resolved, err := b.Resolve(t.Context(), r, a)
	if err != nil {
		t.Fatal(err)
	}
	return resolved
}

func TestChangedScriptIsNoticed(t *testing.T) {
	const plain = "build: {script: {run: build/build.sh, packages: [" + compilers + "]}}\n"
	dir := checkout(t, plain, "build/build.sh", "#!/bin/sh\nmkdir $OUT/usr; echo one > $OUT/usr/x\n")
	b, r := scripted(t, dir)
	first, err := made(t, b, r, arch.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "recipes/tool/build/build.sh"), "#!/bin/sh\nmkdir $OUT/usr; echo two > $OUT/usr/x\n")
	second, err := made(t, b, r, arch.AMD64)
	if err != nil || first.Listing() == second.Listing() {
		t.Errorf("a changed script gave the tree of before, %v", err)
	}
	write(t, filepath.Join(dir, "recipes/tool/build/build.sh"), "#!/bin/sh\necho cannot find it >&2; exit 1\n")
	if _, err := made(t, b, r, arch.AMD64); err == nil || !strings.Contains(err.Error(), "recipes/tool/recipe.yaml:7: ") || !strings.Contains(err.Error(), "cannot find it") {
		t.Errorf("error is %v", err)
	}
}
