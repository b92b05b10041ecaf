package definition

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
)

func TestProjectsOwnDefinitions(t *testing.T) {
	platforms, err := Platforms(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, p := range platforms {
		ids = append(ids, p.ID.Value)
	}
	files, err := filepath.Glob("../../platforms/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	var want []string
	for _, file := range files {
		want = append(want, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Error(diff)
	}
}

const goodRecipe = `name: NAME
summary: s
homepage: https://example.org
license: MIT
arches: [amd64]
max_size: 1 MiB
`

func recipeFile(name, more string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(strings.Replace(goodRecipe, "NAME", name, 1) + more)}
}

func TestEveryMistakeOfAllFiles(t *testing.T) {
	_, err := Platforms(fstest.MapFS{
		"recipes/a/recipe.yaml": recipeFile("a", "needs: [b]\nworks: [{run: ' '}, {says: x}]\n"),
		"recipes/b/recipe.yaml": recipeFile("b", "needs: [c, nothing]\n"),
		"recipes/c/recipe.yaml": recipeFile("c", "needs: [a]\nrequires: [/etc/passwd]\nprune: ['/usr/[']\n"),
		"recipes/d/recipe.yaml": recipeFile("x", "files: ../a\nsources: [{}, {deb: {suite: trixie, packages: ['../x']}}]\nunits: {upholds: {t: [u]}}\n"),
		"recipes/e/recipe.yaml": recipeFile("e", "sources:\n  - go: {module: m, version: 1.0, sum: x}\nbuild: {go: [{package: cmd, to: /usr/bin/../x}]}\n"+
			"special: {/etc/x: {mode: 9755}, /usr/x: {owner: root, capabilities: [net_raw]}}\n"),
		"recipes/f/recipe.yaml":    recipeFile("f", "build: {script: {run: build.sh, timeout: 3h, max_output: 3 GiB}}\nmodules: [net, a/b.ko]\n"),
		"recipes/g/recipe.yaml":    recipeFile("g", "build: {script: {run: build/build.sh, suite: '../x', packages: [gcc, _]}}\n"),
		"recipes/g/build/build.sh": {Data: []byte("#!/bin/sh\n"), Mode: 0o644},
		"recipes/h/recipe.yaml": recipeFile("h", strings.ReplaceAll(`sources:
  - url: {address: "https://u:p@example.org/x?token=1", version: 1, sha256: {i386: SUM}, signature: {suffix: .sig}}
  - url: {address: "file:///etc/passwd", version: 1, sha256: {all: SUM}, update: {address: "https://example.org/", pattern: "x"}}
  - github: {repository: x, tag: v1, asset: "a/[", unpack: {strip: 1, program: /usr/bin/x}, signature: {suffix: .asc, openpgp: gone.asc}}
  - binpkg: {release: latest, packages: [tool], without: []}
  - url: {address: "https://example.org/x", version: 1, sha256: {all: x}, unpack: {strip: -1, to: /etc, include: [x]}}
`, "SUM", strings.Repeat("0", 64))),
		"platforms/cloud.yaml":     {Data: []byte("id: Cloud\nname: C\nkernel_id: c\narches: [amd64, arm64]\nrecipes: [a, gone, a]\ndetect: [{virt: kvm}]\n")},
		"platforms/x86.yaml":       {Data: []byte("id: x86\nname: X\nkernel_id: x\narches: [i386]\nrecipes: []\nextra: 1\nambiguous_with: [Cloud]\n")},
		"recipes/README.md":        {Data: []byte("not a recipe")},
		"recipes/d/files/usr/bin/": {Mode: os.ModeDir},
	})
	var mistakes strictyaml.Mistakes
	if !errors.As(err, &mistakes) {
		t.Fatalf("error is %v", err)
	}
	want := []string{
		`platforms/cloud.yaml:1: id "Cloud"; wanted "cloud", like the file name`,
		`platforms/cloud.yaml:5: cloud is for arm64, but a is not (recipes/a/recipe.yaml)`,
		`platforms/cloud.yaml:5: cloud uses "gone", which is not a recipe; wanted one of a, b, c, d, e, f, g, h`,
		`platforms/cloud.yaml:5: cloud uses "a" twice; wanted once`,
		`platforms/x86.yaml:4: arches: "i386" is not an architecture; wanted amd64 or arm64`,
		`platforms/x86.yaml:6: unknown key "extra"; did you mean "extras"? Wanted is one of id, name, homepage, kernel_id, arches, recipes, active_units, extras, detect, detect_before, ambiguous_with, kernel_arguments, missing, works, initrd`,
		`recipes/a/recipe.yaml:7: needs: cycle: a → b → c → a; remove one of them`,
		`recipes/a/recipe.yaml:8: run: an empty command; wanted a line for sh such as agent --version`,
		`recipes/a/recipe.yaml:8: the key "run" is missing; add it`,
		`recipes/b/recipe.yaml:7: needs: cycle: b → c → a → b; remove one of them`,
		`recipes/b/recipe.yaml:7: b needs "nothing", which is not a recipe; wanted one of a, b, c, d, e, f, g, h`,
		`recipes/c/recipe.yaml:7: needs: cycle: c → a → b → c; remove one of them`,
		`recipes/c/recipe.yaml:8: requires: "/etc/passwd"; wanted a clean path below /usr/, such as /usr/bin/agent`,
		`recipes/c/recipe.yaml:9: prune: "/usr/["; wanted an absolute pattern, such as /usr/lib/**/{test,tests}`,
	}
	got := strings.Split(err.Error(), "\n")
	if len(got) > len(want) {
		if diff := cmp.Diff(want, got[:len(want)]); diff != "" {
			t.Error(diff)
		}
	}
	for _, part := range []string{
		`recipes/d/recipe.yaml:1: name "x"; wanted "d", like the directory`,
		`recipes/d/recipe.yaml:7: directory "../a"; wanted one beside recipe.yaml`,
		`recipes/d/recipe.yaml:8: a source with 0 kinds; wanted one of deb, go, url, github, binpkg, dir`,
		`recipes/d/recipe.yaml:8: package "../x" is no package's name`,
		`"t" is not a unit's name`,
		`recipes/e/recipe.yaml:8: version "1.0"; wanted an exact module version`,
		`recipes/e/recipe.yaml:8: sum "x"; wanted the module's h1: sum`,
		`recipes/e/recipe.yaml:9: package "cmd"; wanted a path in the module`,
		`recipes/e/recipe.yaml:9: to: "/usr/bin/../x"; wanted a clean path below /usr/`,
		`recipes/h/recipe.yaml:8: address: has a user, password or query`,
		`recipes/h/recipe.yaml:8: sha256 for "i386"; wanted amd64, arm64 or all`,
		`recipes/h/recipe.yaml:8: no sha256 for amd64`,
		`recipes/h/recipe.yaml:8: a signature needs one key`,
		`recipes/h/recipe.yaml:9: address: not an http or https address`,
		`recipes/h/recipe.yaml:9: pattern "x"; wanted one with a group`,
		`recipes/h/recipe.yaml:10: repository: "x" is not a repository; wanted OWNER/NAME`,
		`recipes/h/recipe.yaml:10: asset "a/["; wanted a name`,
		`recipes/h/recipe.yaml:10: openpgp: "gone.asc" does not exist; wanted a file with public keys beside recipe.yaml`,
		`recipes/h/recipe.yaml:10: unpack: program: excludes strip:, include: and to:`,
		`recipes/h/recipe.yaml:11: release "latest"; wanted a Flatcar release such as 4593.1.0`,
		`recipes/h/recipe.yaml:11: packages: "tool" is not a package; wanted CATEGORY/NAME`,
		`recipes/h/recipe.yaml:12: all: "x" is not a sha256 digest`,
		`recipes/h/recipe.yaml:12: strip: "-1"; wanted the number of leading directories`,
		`recipes/h/recipe.yaml:12: to: "/etc"; wanted a clean path below /usr/`,
		`recipes/h/recipe.yaml:12: include: "x"; wanted an absolute pattern`,
		`special: "/etc/x"; wanted a clean path below /usr/`,
		`recipes/f/recipe.yaml:7: run: "build.sh"; wanted a script in a directory beside recipe.yaml`,
		`recipes/f/recipe.yaml:7: timeout "3h"; wanted a duration from 1s to 2h0m0s`,
		`recipes/f/recipe.yaml:7: max_output "3 GiB"; wanted at most 2.0 GiB`,
		`recipes/f/recipe.yaml:8: module "a/b.ko"; wanted letters, digits, - and _`,
		`recipes/g/recipe.yaml:7: run: "build/build.sh" is not an executable file`,
		`recipes/g/recipe.yaml:7: suite "../x" is none`,
		`recipes/g/recipe.yaml:7: package "_" is no package's name`,
		`recipes/e/recipe.yaml:10: mode "9755"; wanted three or four octal digits`,
		`recipes/e/recipe.yaml:10: owner "root"; wanted USER:GROUP with names of the base`,
		`recipes/e/recipe.yaml:10: capabilities: "net_raw" is not a capability`,
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no mistake %q in\n%v", part, err)
		}
	}
}

func TestSelect(t *testing.T) {
	platforms, err := Platforms(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	one, err := Select(platforms, arch.AMD64, "azure")
	if err != nil || len(one) != 1 || one[0].ID.Value != "azure" {
		t.Errorf("selected %v, %v", one, err)
	}
	if _, err := Select(platforms, arch.AMD64, "azrue"); err == nil || !strings.Contains(err.Error(), "azure") {
		t.Errorf("error is %v", err)
	}
}

func TestRecipe(t *testing.T) {
	if r, err := Recipe(os.DirFS("../.."), "chrony"); err != nil || r.Name.Value != "chrony" {
		t.Errorf("recipe is %v, %v", r, err)
	}
	if _, err := Recipe(os.DirFS("../.."), "chorny"); err == nil || !strings.Contains(err.Error(), "chrony, chrony-ec2") {
		t.Errorf("error is %v", err)
	}
}

// TestActiveText says that what a definition shows to people does nothing where it is shown.
func TestActiveText(t *testing.T) {
	for text, want := range map[string]string{
		`summary: "x\e]0;title\a"`:          `recipes/a/recipe.yaml:2: summary: "x\x1b]0;title\a" has control characters; wanted one line of text`,
		"license: |\n  MIT\n  ID=_any":      `recipes/a/recipe.yaml:4: license: "MIT\nID=_any\n" has control characters`,
		`license: "MIT\u202e"`:              `license: "MIT\u202e" has control characters`,
		"homepage: javascript:alert(1)":     `recipes/a/recipe.yaml:3: homepage "javascript:alert(1)"; wanted an address such as https://`,
		"homepage: https://u:p@example.org": `homepage "https://u:p@example.org"; wanted`,
		"homepage: //example.org":           `homepage "//example.org"; wanted`,
		`requires: ["/usr/bin/\x1b[2J"]`:    `an item of requires: "/usr/bin/\x1b[2J" has control characters`,
		`move: {"/etc/\n": /usr/x}`:         `a key: "/etc/\n" has control characters`,
		`"un\eknown": 1`:                    `unknown key "un\x1bknown"`,
	} {
		key, _, _ := strings.Cut(text, ":")
		var lines []string
		for line := range strings.Lines(goodRecipe) {
			if strings.HasPrefix(line, key+":") {
				line, text = text+"\n", ""
			}
			lines = append(lines, line)
		}
		content := strings.Replace(strings.Join(lines, "")+text+"\n", "NAME", "a", 1)
		_, err := Platforms(fstest.MapFS{"recipes/a/recipe.yaml": {Data: []byte(content)}})
		if err == nil || !strings.Contains(err.Error(), want) || strings.ContainsAny(err.Error(), "\x1b\a\u202e") {
			t.Errorf("error is %v; wanted %s", err, want)
		}
	}
	_, err := Platforms(fstest.MapFS{"platforms/x.yaml": {Data: []byte("id: x\nname: \"X\\nID=_any\"\nkernel_id: x\narches: [amd64]\nrecipes: []\n" +
		"detect: [{virt: kvm}]\nkernel_arguments: {all: [\"a\\eb\"]}\n")}})
	for _, want := range []string{`platforms/x.yaml:2: name: "X\nID=_any" has control`, `platforms/x.yaml:7: an item of all: "a\x1bb" has control`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; wanted %s", err, want)
		}
	}
}

// TestFilesThatAreNotRead says which files are called almost like definitions.
func TestFilesThatAreNotRead(t *testing.T) {
	const platform = "id: x\nname: X\nkernel_id: x\narches: [amd64]\nrecipes: [a]\ndetect: [{virt: kvm}]\n"
	own := map[string]string{"recipes/README.md": "", "recipes/recipe.schema.json": "{}", "platforms/x.yaml": platform, "recipes/a/recipe.lock": "", "recipes/a/notes.txt": ""}
	for name, want := range map[string]string{
		"platforms/cloud.yml":    "platforms/cloud.yml:1: is not read; wanted .yaml, as in cloud.yaml",
		"platforms/cloud.YAML":   "platforms/cloud.YAML:1: is not read; wanted .yaml, as in cloud.yaml",
		"platforms/cloud.ymal":   "platforms/cloud.ymal:1: is not read; wanted .yaml",
		"recipes/b/recipe.yml":   "recipes/b/recipe.yml:1: is not read; wanted recipe.yaml",
		"recipes/b/receipt.yaml": "recipes/b/receipt.yaml:1: is not read; wanted recipe.yaml",
		"recipes/a/recipe.yml":   "recipes/a/recipe.yml:1: is not read; wanted recipe.yaml",
		"recipes/b/Recipe.yaml":  "recipes/b/Recipe.yaml:1: is not read; wanted recipe.yaml",
		"recipes/b/files/x":      "recipes/b:1: has no recipe.yaml; add it, or remove the directory",
		"recipes/b.yaml":         "recipes/b.yaml:1: is not read; wanted a file recipe.yaml in a directory of its own",
		"platforms/cloud.yaml~":  "", "platforms/notes.md": "",
		"recipes/examples/b/recipe.yaml": "",
	} {
		checkout := fstest.MapFS{"recipes/a/recipe.yaml": recipeFile("a", ""), name: {}}
		for file, content := range own {
			checkout[file] = &fstest.MapFile{Data: []byte(content)}
		}
		_, err := Platforms(checkout)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: error is %v; wanted %q", name, err, want)
		}
	}
}

// TestCausesOnly says that what follows from another mistake is not reported.
func TestCausesOnly(t *testing.T) {
	const platform = "id: ID\nname: X\nkernel_id: ID\narches: [amd64]\nrecipes: [a]\ndetect: [{virt: VIRT}]\n"
	cloud := func(id, virt, more string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(strings.NewReplacer("ID", id, "VIRT", virt).Replace(platform) + more)}
	}
	_, err := Platforms(fstest.MapFS{
		"recipes/a/recipe.yaml": {Data: []byte("name: a\n\tsummary: s\n")},
		"recipes/b/recipe.yaml": recipeFile("b", "needs: [a]\n"),
		"platforms/x.yaml":      cloud("x", "kvm", "detect_before: [y]\n"),
		"platforms/y.yaml":      {Data: []byte("id: [\n")},
	})
	want := []string{
		"platforms/y.yaml:1: not YAML: did not find expected node content; wanted keys and values",
		"recipes/a/recipe.yaml:2: not YAML: the line begins with a tab; wanted spaces",
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("error is\n%v; wanted\n%v", err, strings.Join(want, "\n"))
	}
}
