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

	"github.com/flatcar/oem-sysext/oem/fit"
	"github.com/flatcar/oem-sysext/oem/size"
)

const head = `summary: some
headroom: 5 KiB
images: 6 KiB
max_images: 2
`

var known = Known{Platforms: []string{"azure", "gce", "qemu"}}

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
	for id, want := range map[string]Places{"azure": {fit.InUsr, fit.OnOEM}, "gce": {fit.InBothPlaces}, "qemu": {fit.InUsr}} {
		if diff := cmp.Diff(want, p.Of(id)); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
	}
}

func TestMistakes(t *testing.T) {
	for want, content := range map[string]string{
		`mine.yaml:5: "attic"; wanted usr, oem-partition or both`:           head + "placement: {gce: attic}\n",
		`mine.yaml:5: placement: "gcp" is no platform; wanted one of azure`: head + "placement: {gcp: both}\n",
		`mine.yaml:6: platforms: "gcp" is no platform; wanted one of azure`: head + "platforms:\n  - gcp\n",
		`mine.yaml:4: "0"; wanted a number of images from 1 to 128`:         strings.Replace(head, "2", "0", 1),
		`mine.yaml:2: unknown key "headrom"`:                                strings.Replace(head, "headroom", "headrom", 1),
	} {
		if _, err := load(t, content); err == nil || !strings.Contains(err.Error(), want) {
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
	for _, bad := range []string{"placement: {gce: attic}", "platforms: gce", "extra: 1"} {
		if err := fits([]byte(head + bad)); err == nil {
			t.Errorf("the schema accepts %q", bad)
		}
	}
}
