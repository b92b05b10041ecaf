package ci

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/flatcar/oem-sysext/oem/definition"
)

// TestRenovate says that its patterns find the version of every Go module and of every release on GitHub in a recipe.
func TestRenovate(t *testing.T) {
	content, err := os.ReadFile(dotGitHub + "renovate.json")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Managers []struct {
			Files      []string `json:"managerFilePatterns"`
			Matches    []string `json:"matchStrings"`
			Datasource string   `json:"datasourceTemplate"`
		} `json:"customManagers"`
	}
	if err := json.Unmarshal(content, &config); err != nil {
		t.Fatal(err)
	}
	patterns := map[string]*regexp.Regexp{}
	for _, m := range config.Managers {
		patterns[m.Datasource] = regexp.MustCompile(m.Matches[0])
		if file := regexp.MustCompile(strings.Trim(m.Files[0], "/")); !file.MatchString("recipes/chrony/recipe.yaml") {
			t.Errorf("%s: recipes are not looked at: %s", m.Datasource, m.Files[0])
		}
	}
	find := func(datasource, text, name, version string) {
		t.Helper()
		found := patterns[datasource].FindAllStringSubmatch(text, -1)
		for _, f := range found {
			if f[1] == name && f[2] == version {
				return
			}
		}
		t.Errorf("%s %s is not found, but %q", name, version, found)
	}
	const checkout = "../../.."
	_, recipes, err := definition.All(os.DirFS(checkout))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, r := range recipes {
		text, err := os.ReadFile(filepath.Join(checkout, r.File))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Sources {
			if s.Go != nil {
				seen++
				find("go", string(text), s.Go.Module, s.Go.Version)
			}
			if s.GitHub != nil {
				seen++
				find("github-releases", string(text), s.GitHub.Repository.Value, s.GitHub.Tag)
			}
		}
	}
	example, err := os.ReadFile(filepath.Join(checkout, "recipes/examples/hello-github/recipe.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	find("github-releases", string(example), "owner/hello", "v1.0.0")
	if seen == 0 {
		t.Error("no recipe has a Go module or a release on GitHub")
	}
}

// TestIssueForms says that the forms are what GitHub reads: fields of known kinds, each with a name of its own.
func TestIssueForms(t *testing.T) {
	paths, err := filepath.Glob(dotGitHub + "ISSUE_TEMPLATE/*.yml")
	if err != nil || len(paths) < 2 {
		t.Fatalf("%d forms, %v", len(paths), err)
	}
	for _, path := range paths {
		if filepath.Base(path) == "config.yml" {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var form struct {
			Name        string `yaml:"name"`
			Description string `yaml:"description"`
			Body        []struct {
				Type       string            `yaml:"type"`
				ID         string            `yaml:"id"`
				Attributes map[string]string `yaml:"attributes"`
			} `yaml:"body"`
		}
		if err := yaml.Unmarshal(content, &form); err != nil {
			t.Fatal(err)
		}
		ids := map[string]bool{}
		for _, field := range form.Body {
			if field.Type != "textarea" && field.Type != "input" || field.Attributes["label"] == "" || field.ID == "" || ids[field.ID] {
				t.Errorf("%s: field %+v", path, field)
			}
			ids[field.ID] = true
		}
		if form.Name == "" || form.Description == "" || len(form.Body) == 0 {
			t.Errorf("%s: %+v", path, form)
		}
	}
}
