package definition

import (
	"bytes"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// compiled returns a schema of the project, ready to validate.
func compiled(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	content, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(name, document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(t *testing.T, schema *jsonschema.Schema, definition []byte) error {
	t.Helper()
	var value any
	if err := yaml.Unmarshal(definition, &value); err != nil {
		t.Fatal(err)
	}
	return schema.Validate(value)
}

func TestSchemasAreCurrent(t *testing.T) {
	want, err := Schemas(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range want {
		if got, err := os.ReadFile("../../" + name); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s does not say what the Go types say (%v); run scripts/mage recipe:schema", name, err)
		}
	}
}

func TestEveryDefinitionFitsItsSchema(t *testing.T) {
	for name, pattern := range map[string]string{RecipeSchema: "recipes/*/recipe.yaml", PlatformSchema: "platforms/*.yaml"} {
		schema := compiled(t, name)
		files, err := fs.Glob(os.DirFS("../.."), pattern)
		if err != nil || len(files) < 20 {
			t.Fatalf("%d files %s, %v", len(files), pattern, err)
		}
		for _, file := range files {
			content, err := os.ReadFile("../../" + file)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate(t, schema, content); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// What an editor must mark, as recipe:check does.
func TestSchemasRefuse(t *testing.T) {
	const goodPlatform = "id: a\nname: A\nkernel_id: a\narches: [amd64]\nrecipes: []\n"
	for schema, c := range map[string]struct {
		good string
		bad  []string
	}{
		RecipeSchema: {
			strings.Replace(goodRecipe, "NAME", "a", 1) + "special: {/usr/bin/a: {mode: 4755, owner: 'root:disk', capabilities: [cap_net_raw]}}\n",
			[]string{
				"naem: x", "needs: a", "needs:", "sources: [{}]", "sources: [{deb: {suite: trixie, packages: [a]}, dir: {path: a, to: /usr/a}}]",
				"sources: [{deb: {suite: trixie}}]", "move: {/etc/a: /var/a}", "requires: [/etc/passwd]", "requires: [/usr/]", "prune: [usr]",
				"units: {upholds: [a]}", "special: {/usr/a: {mode: rws}}", "special: {/usr/a: {owner: root}}", "special: {/usr/a: {capabilities: [net_raw]}}", "works: [a]", "works: [{says: a}]",
			},
		},
		PlatformSchema: {
			goodPlatform + "detect: [{dmi: {sys_vendor: 1}, virt: kvm}]\nmissing: {a: b}\n",
			[]string{
				"extra: 1", "detect: {virt: kvm}", "detect: [{virt: docker}]", "detect: [{dmi: {vendor: a}}]", "detect: [{dmi: {sys_vendor: 'a '}}]",
				"detect: [{fallback: perhaps}]", "kernel_arguments: [a]", "kernel_arguments: {i386: [a]}", "missing: [a]",
			},
		},
	} {
		compiled := compiled(t, schema)
		if err := validate(t, compiled, []byte(c.good)); err != nil {
			t.Errorf("%s: %v", schema, err)
		}
		base, _, _ := strings.Cut(c.good, "special")
		base, _, _ = strings.Cut(base, "detect")
		for _, bad := range append(c.bad, "") {
			definition := base + bad
			if bad == "" { // and what is required
				definition = strings.Replace(base, "arches: [amd64]\n", "", 1)
			}
			if err := validate(t, compiled, []byte(definition)); err == nil {
				t.Errorf("%s accepts %q", schema, bad)
			}
		}
	}
}
