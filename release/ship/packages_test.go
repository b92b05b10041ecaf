package ship

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// TestReadProgram reads a program of Go's, and files that are none.
func TestReadProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../oem/tools/sandbox/testdata/escape")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p, err := readProgram(program)
	if err != nil || p == nil || !strings.HasPrefix(p.Go, "go1.") || p.Module.Path != "github.com/flatcar/oem-sysext" {
		t.Fatalf("read %+v, %v", p, err)
	}
	if !slices.ContainsFunc(p.Modules, func(m manifest.Module) bool {
		return m.Path == "golang.org/x/sys" && m.Version != "" && strings.HasPrefix(m.Sum, "h1:")
	}) {
		t.Errorf("modules are %+v", p.Modules)
	}
	for name, content := range map[string]string{"text": "#!/bin/sh\n", "empty": "", "elf": "\x7fELF\x02\x01\x01"} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if p, err := readProgram(path); p != nil || err != nil {
			t.Errorf("%s is read as %+v, %v", name, p, err)
		}
	}
	if _, err := readProgram(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a file that is not there is no error")
	}
}

func TestPackagesOfBases(t *testing.T) {
	status := "Package: b\nStatus: install ok installed\nVersion: 2\nArchitecture: all\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: amd64\n\n" +
		"Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\n"
	for name, c := range map[string]struct {
		base target.Base
		want []manifest.Package
	}{
		"of Debian":  {target.Base{Status: []byte(status)}, []manifest.Package{{Kind: "deb", Name: "a", Version: "1", Arch: "amd64"}, {Kind: "deb", Name: "b", Version: "2", Arch: "all"}}},
		"of Flatcar": {target.Base{Gentoo: []byte("sys-libs/glibc-2.40-r1::portage\napp/a-1\n")}, []manifest.Package{{Kind: "binpkg", Name: "app/a", Version: "1"}, {Kind: "binpkg", Name: "sys-libs/glibc", Version: "2.40-r1"}}},
		"unknown":    {target.Base{}, nil},
	} {
		got, err := packagesOf(&c.base)
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %s, %v", name, diff, err)
		}
	}
}
