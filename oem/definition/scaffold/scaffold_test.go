package scaffold

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// begin begins a recipe and a platform in a new checkout, where the recipe that the platform uses is there.
func begin(t *testing.T) (checkout string, files []string) {
	t.Helper()
	checkout = t.TempDir()
	recipeFile, err := Recipe(checkout, "my-tool")
	if err != nil {
		t.Fatal(err)
	}
	platformFile, err := Platform(checkout, "mycloud")
	if err != nil {
		t.Fatal(err)
	}
	return checkout, []string{platformFile, recipeFile}
}

func edit(t *testing.T, file string, change func(string) string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(change(string(content))), 0o644); err != nil {
		t.Fatal(err)
	}
}

func load(checkout string) ([]*platform.Platform, strictyaml.Mistakes) {
	recipes, mistakes := recipe.Load(os.DirFS(checkout), "recipes")
	platforms, more := platform.Load(os.DirFS(checkout), "platforms", recipes)
	return platforms, append(mistakes, more...)
}

func TestWhatIsEmptyIsNamed(t *testing.T) {
	checkout, files := begin(t)
	if diff := cmp.Diff([]string{"platforms/mycloud.yaml", "recipes/my-tool/recipe.yaml"}, files); diff != "" {
		t.Error(diff)
	}
	_, mistakes := load(checkout)
	var lines []strictyaml.Line
	for _, m := range mistakes {
		if !strings.Contains(m.Text, " is empty; write ") && !strings.Contains(m.Text, `"chrony-pool", which is not a recipe`) {
			t.Errorf("unexpected: %v", m)
		}
		lines = append(lines, m.Line)
	}
	if len(mistakes) != 8 {
		t.Errorf("%d lines to fill in: %v", len(lines), mistakes)
	}
}

// fill fills in what is empty, as a maintainer would.
func fill(text string) string {
	text = strings.Replace(text, "recipes: [chrony-pool]", "recipes: [my-tool]", 1)
	text = strings.Replace(text, "  - # such as", "  - ", 1)
	text = strings.ReplaceAll(text, "homepage: #", "homepage: https://example.org #")
	return regexp.MustCompile(`(?m)^( *)(summary|name|license|sys_vendor): #`).ReplaceAllString(text, "$1$2: value #")
}

func TestFilledInItIsFine(t *testing.T) {
	checkout, files := begin(t)
	for _, file := range files {
		edit(t, filepath.Join(checkout, file), fill)
	}
	platforms, mistakes := load(checkout)
	if err := mistakes.Err(); err != nil || len(platforms) != 1 || len(platforms[0].Recipes) != 1 {
		t.Errorf("platforms %v, mistakes %v", platforms, err)
	}
}

// What is commented out must be right, too.
func TestSuggestionsAreFine(t *testing.T) {
	checkout, files := begin(t)
	suggestion := regexp.MustCompile(`(?m)^( *)# ( *(?:- )?(?:[a-z_]+:( |$)|[{a-z]+: ?\{|- \{).*)$`)
	for _, file := range files {
		edit(t, filepath.Join(checkout, file), func(text string) string {
			text = strings.NewReplacer("[qemu]", "[other]", "h1:…", "h1:x", "[oem-setup]", "[]").Replace(fill(text))
			return suggestion.ReplaceAllString(text, "$1$2")
		})
	}
	if _, err := Platform(checkout, "other"); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(checkout, "platforms/other.yaml"), fill)
	if err := os.Mkdir(filepath.Join(checkout, "recipes/my-tool/files"), 0o755); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(checkout, files[1]), func(text string) string { // the other sources are instead of the first ones
		before, rest, _ := strings.Cut(text, "sources:\n  - deb:")
		_, after, _ := strings.Cut(rest, "\nsources:")
		return before + "sources:" + after
	})
	if _, mistakes := load(checkout); len(mistakes) > 0 {
		content, _ := os.ReadFile(filepath.Join(checkout, files[1]))
		t.Errorf("%v\n%s", mistakes, content)
	}
	for _, file := range files {
		content, _ := os.ReadFile(filepath.Join(checkout, file))
		if left := regexp.MustCompile(`(?m)^ *# *[a-z_]+:.*$`).FindString(string(content)); left != "" {
			t.Errorf("%s: not tried: %s", file, left)
		}
	}
}

func TestRefused(t *testing.T) {
	checkout, files := begin(t)
	before, err := os.ReadFile(filepath.Join(checkout, files[1]))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"my-tool", "../tool", "Tool", ""} {
		if file, err := Recipe(checkout, name); err == nil {
			t.Errorf("recipe %q is %s", name, file)
		}
	}
	for _, id := range []string{"mycloud", "my-cloud", "a/b", ""} {
		if file, err := Platform(checkout, id); err == nil {
			t.Errorf("platform %q is %s", id, file)
		}
	}
	if after, err := os.ReadFile(filepath.Join(checkout, files[1])); err != nil || !cmp.Equal(before, after) {
		t.Errorf("the recipe was changed, %v", err)
	}
}
