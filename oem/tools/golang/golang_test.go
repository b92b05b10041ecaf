package golang

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"github.com/flatcar/oem-sysext/oem/host/arch"
)

func TestSecretsOfTheHostStayOut(t *testing.T) {
	t.Setenv("GITHUB_TOKEN", "hunter2")
	toolchain, err := Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.Join(toolchain.env, " "), "hunter2") {
		t.Error("the environment of builds has a token")
	}
}

// What is no program, or cannot be built here, is said.
func TestWhatIsNoProgram(t *testing.T) {
	toolchain, err := Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files map[string]string
		says  string
	}{
		"a library":         {map[string]string{"a.go": "package lib\n"}, ". is package lib of the module; wanted a main package"},
		"cgo":               {map[string]string{"a.go": "package main\nimport \"example.org/x/c\"\nfunc main() { c.F() }\n", "c/c.go": "package c\n// int f(void) { return 1; }\nimport \"C\"\nfunc F() { C.f() }\n"}, ". needs a C compiler (cgo), for example.org/x/c; build it by a script"},
		"a local directory": {map[string]string{"a.go": "package main\nimport \"example.org/y\"\nfunc main() { y.F() }\n", "go.mod": "module example.org/x\nrequire example.org/y v1.0.0\nreplace example.org/y => ./y\n"}, "the module replaces example.org/y by directories of its repository"},
		"a mistake":         {map[string]string{"a.go": "package main\nfunc main() { nothing() }\n"}, "undefined: nothing"},
		"a program":         {map[string]string{"a.go": "package main\nfunc main() {}\n"}, ""},
	} {
		dir := t.TempDir()
		if c.files["go.mod"] == "" {
			c.files["go.mod"] = "module example.org/x\n"
		}
		for file, content := range c.files {
			file = filepath.Join(dir, file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		err := toolchain.Build(t.Context(), dir, arch.AMD64, Program{Package: ".", To: "x"}, t.TempDir())
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: error is %v; wanted %q", name, err, c.says)
		}
	}
}

// proxy is a module proxy in a directory, with one version of example.org/tool whose go.mod says what it is.
func proxy(t *testing.T, is string) *Toolchain {
	t.Helper()
	source, dir := t.TempDir(), t.TempDir()
	at := filepath.Join(dir, "example.org/tool/@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(source, "go.mod"), []byte("module "+is+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	packed, err := os.Create(filepath.Join(at, "v1.0.0.zip"))
	if err != nil {
		t.Fatal(err)
	}
	if err := zip.CreateFromDir(packed, module.Version{Path: "example.org/tool", Version: "v1.0.0"}, source); err != nil {
		t.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"list": "v1.0.0\n", "v1.0.0.info": `{"Version": "v1.0.0"}`, "v1.0.0.mod": "module " + is + "\n"} {
		if err := os.WriteFile(filepath.Join(at, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("GOPROXY", "file://"+dir)
	t.Setenv("GONOSUMDB", "*")
	cache := filepath.Join(t.TempDir(), "modules")
	t.Setenv("GOMODCACHE", cache)
	t.Cleanup(func() {
		_ = filepath.WalkDir(cache, func(name string, _ fs.DirEntry, _ error) error { return os.Chmod(name, 0o700) })
	})
	toolchain, err := Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return toolchain
}

func TestModuleSaysWhatItIs(t *testing.T) {
	for is, want := range map[string]string{"example.org/tool": "", "example.org/other": `says in its go.mod that it is "example.org/other"; wanted example.org/tool`} {
		g := proxy(t, is)
		sum, err := g.Sum(t.Context(), "example.org/tool", "v1.0.0")
		if err != nil {
			t.Fatal(err)
		}
		_, err = g.Source(t.Context(), Module{"example.org/tool", "v1.0.0", sum})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; wanted %q", err, want)
		}
	}
}

// What another user leaves in a directory for all does not matter.
func TestModuleOfAnotherUser(t *testing.T) {
	g := proxy(t, "example.org/tool")
	shared := t.TempDir()
	t.Setenv("TMPDIR", shared)
	if err := os.WriteFile(filepath.Join(shared, "go.mod"), []byte("module x\nexclude example.org/tool v1.0.0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if versions, err := g.Versions(t.Context(), "example.org/tool"); err != nil || !slices.Contains(versions, "v1.0.0") {
		t.Errorf("versions are %v, %v", versions, err)
	}
}
