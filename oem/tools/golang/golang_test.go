package golang

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
