package profiles

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/budget"
)

const head = `summary: some
headroom: 5 KiB
images: 6 KiB
max_images: 2
`

var known = Known{Platforms: []string{"azure", "gce", "qemu"}, Recipes: []string{"tool"}}

// load reads a profile that lies in a directory of its own, with files beside it.
func load(t *testing.T, content string, beside ...string) (*Profile, error) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range beside {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "mine.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(t.TempDir(), path, known)
}

func TestLoad(t *testing.T) {
	p, err := load(t, head+`platforms: [azure, gce]
placement: {azure: "usr, oem-partition", gce: both}
`)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "mine" || p.Headroom.Bytes != 5*size.KiB || p.Images.Bytes != 6*size.KiB || p.MaxImages != 2 {
		t.Errorf("read %+v", p)
	}
	if diff := cmp.Diff([]string{"azure", "gce"}, p.PlatformIDs()); diff != "" {
		t.Error(diff)
	}
	for id, want := range map[string]Places{"azure": {budget.InUsr, budget.OnOEM}, "gce": {budget.InBothPlaces}, "qemu": {budget.InUsr}} {
		if diff := cmp.Diff(want, p.Of(id)); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
	}
}

func TestMistakes(t *testing.T) {
	for want, content := range map[string]string{
		`mine.yaml:5: gce: "attic"; wanted usr, oem-partition or both`:                          head + "placement: {gce: attic}\n",
		`mine.yaml:5: placement: no platform "gcp"; did you mean "gce"? Wanted is one of azure`: head + "placement: {gcp: both}\n",
		`mine.yaml:6: platforms: no platform "gcp"; did you mean "gce"? Wanted is one of azure`: head + "platforms:\n  - gcp\n",
		`mine.yaml:4: max_images: "0"; wanted a number of images from 1 to 128`:                 strings.Replace(head, "2", "0", 1),
		`mine.yaml:2: unknown key "headrom"`:                                                    strings.Replace(head, "headroom", "headrom", 1),
	} {
		if _, err := load(t, content, "a.raw", "key", "tree/usr/x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
	}
}

func TestNoSuchProfile(t *testing.T) {
	for _, name := range []string{"nope", "../profiles/default", "nope.yaml", "a b"} {
		if _, err := Load("../..", name, known); err == nil || !strings.Contains(err.Error(), "no profile") {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func TestOrigins(t *testing.T) {
	for text, want := range map[string]map[string]Origin{
		"":                           {"azure": FromRecipes},
		"oem: upstream\n":            {"azure": Upstream, "gce": Upstream},
		"oem: recipes\n":             {"azure": FromRecipes},
		"oem: {upstream: [azure]}\n": {"azure": Upstream, "gce": FromRecipes},
		"oem: {upstream: [azure], repacked: [gce]}\n": {"azure": Upstream, "gce": Repacked, "qemu": FromRecipes},
	} {
		p, err := load(t, head+text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		for id, origin := range want {
			if got := p.OEM.Origin(id); got != origin {
				t.Errorf("%q: the tools of %s are from %s; wanted %s", text, id, got, origin)
			}
		}
	}
	for text, want := range map[string]string{
		"oem: flatcar\n":                            "wanted one of recipes, upstream, repacked",
		"oem: {upstream: [asure]}\n":                `no platform "asure"`,
		"oem: {upstream: [gce], repacked: [gce]}\n": "in one of them",
		"oem: {downstream: [gce]}\n":                "downstream",
	} {
		if _, err := load(t, head+text); err == nil || !strings.Contains(err.Error(), "mine.yaml:5: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v; wanted line 5 and %q", text, err, want)
		}
	}
}

func TestSchema(t *testing.T) {
	want, err := Schema(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile("../../" + SchemaFile); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s does not say what the Go types say (%v); run scripts/mage recipe:schema", SchemaFile, err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("p", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("p")
	if err != nil {
		t.Fatal(err)
	}
	fits := func(content []byte) error {
		var value any
		if err := yaml.Unmarshal(content, &value); err != nil {
			t.Fatal(err)
		}
		return schema.Validate(value)
	}
	for _, name := range Names(os.DirFS("../..")) {
		content, err := os.ReadFile(name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := fits(content); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"placement: {gce: attic}", "platforms: gce", "extra: 1", "extensions: [{name: a, enable: sometimes}]", "extensions: [{enable: always}]", "extensions: [{name: a, enable: {}}]"} {
		if err := fits([]byte(head + bad)); err == nil {
			t.Errorf("the schema accepts %q", bad)
		}
	}
}

func TestExtensions(t *testing.T) {
	p, err := load(t, head+`extensions:
- {name: a, version: v1, github: {repository: o/n, tag: "a-{version}"}, enable: by-name}
- {name: a, version: v2, github: {repository: o/n, tag: t, asset: "x_{arch}", arch_names: {amd64: x64}, sums: S}, enable: by-name, default: true}
- {name: b, url: {address: "https://example.org/{version}/{arch}", signature: {suffix: .sig, openpgp: key}}, enable: {platforms: [gce]}}
- {name: c, file: a.raw, repack: true, enable: always}
- {name: d, directory: tree, flatten: true}
- {name: e, recipe: tool, enable: always, rebuild: {recipe: tool}}
`, "a.raw", "key", "tree/usr/x")
	if err != nil {
		t.Fatal(err)
	}
	all := p.Extensions
	var got []string
	for i := range 2 {
		tag, asset, sums := all[i].TagAndAssets("amd64")
		got = append(got, tag, asset, sums)
	}
	got = append(got, all[2].AddressFor("arm64"), string(all[2].Enable.How), all[2].Enable.IDs()[0], string(all[3].Enable.How), p.Where(&all[1]))
	want := []string{"a-v1", "a-v1-x86-64.raw", "SHA256SUMS", "t", "x_x64", "S", "https://example.org//arm64", "platforms", "gce", "always", p.File + ":7: extension a v2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMistakesInExtensions(t *testing.T) {
	for want, one := range map[string]string{
		`:6: name "oem-a"; wanted letters`:                              "{name: oem-a, file: a.raw, enable: always}",
		`:6: name "a b"; wanted letters`:                                "{name: a b, file: a.raw, enable: always}",
		`:6: name "../a"; wanted letters`:                               "{name: ../a, file: a.raw, enable: always}",
		`:6: version "1_2"; wanted`:                                     "{name: a, version: 1_2, file: a.raw, enable: always}",
		`:6: 0 sources`:                                                 "{name: a, enable: always}",
		`:6: 2 sources`:                                                 "{name: a, file: a.raw, recipe: tool, enable: always}",
		`:6: "b.raw" not found; wanted a file beside`:                   "{name: a, file: b.raw, enable: always}",
		`:6: "a.raw" not found; wanted a directory`:                     "{name: a, directory: a.raw, enable: always}",
		`:6: no recipe "b"`:                                             "{name: a, recipe: b, enable: always}",
		`:6: no digest or signature for the image at the address`:       "{name: a, url: {address: x}, enable: always}",
		`:6: signature with no key or two keys`:                         "{name: a, url: {address: x, signature: {suffix: s}}, enable: always}",
		`:6: repository "a"; wanted owner/name`:                         "{name: a, github: {repository: a, tag: t}, enable: always}",
		`:6: wanted one of enable and flatten`:                          "{name: a, file: a.raw}",
		`:6: enable: "sometimes"; wanted always, by-name, or platforms`: "{name: a, file: a.raw, enable: sometimes}",
		`:6: enable: no platform "gcp"`:                                 "{name: a, file: a.raw, enable: {platforms: [gcp]}}",
		`:6: a has several versions, so none can be flattened`:          "{name: a, version: 1, file: a.raw, flatten: true}\n- {name: a, version: 2, default: true, file: a.raw, flatten: true}",
		`:6: 0 of the versions of a are the default`:                    "{name: a, version: 1, file: a.raw, enable: always}\n- {name: a, version: 2, file: a.raw, enable: always}",
		`:7: a is listed 2 times; wanted a different version`:           "{name: a, version: 1, default: true, file: a.raw, enable: always}\n- {name: a, version: 1, file: a.raw, enable: always}",
		`:6: "key" contains no certificate`:                             "{name: a, file: a.raw, certificate: key, enable: always}",
		`:6: certificate with repack: true`:                             "{name: a, file: a.raw, certificate: key, repack: true, enable: always}",
	} {
		if _, err := load(t, head+"extensions:\n- "+one+"\n", "a.raw", "key"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v; want %q", one, err, want)
		}
	}
}
