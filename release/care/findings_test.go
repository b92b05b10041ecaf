package care

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/release/setup"
)

// TestMistakesForPrograms writes what people read as messages.
func TestMistakesForPrograms(t *testing.T) {
	o := toolCheckout(t)
	n, mistakes, err := Check(o.Checkout, setup.DefaultBase)
	want := strictyaml.Mistakes{{File: "recipes/tool/recipe.yaml", Line: 1, Text: "no up-to-date lock file; run scripts/mage recipe:lock tool"}}
	if diff := cmp.Diff(want, mistakes); diff != "" || err != nil || n != 0 {
		t.Error(diff, err, n)
	}
	content := strings.Replace(goTool, "summary: s", "summmary: <s>", 1)
	if err := os.WriteFile(filepath.Join(o.Checkout, "recipes/tool/recipe.yaml"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	_, mistakes, err = Check(o.Checkout, setup.DefaultBase)
	if err != nil || len(mistakes) != 2 {
		t.Fatal(mistakes, err)
	}
	var asJSON []finding
	decode(t, "json", mistakes, &asJSON)
	if len(asJSON) != 2 || asJSON[1].File != "recipes/tool/recipe.yaml" || asJSON[1].Line != 3 || !strings.HasPrefix(asJSON[1].Text, `unknown key "summmary"; did you mean "summary"?`) {
		t.Errorf("%+v", asJSON)
	}
	var asSARIF struct {
		Version string
		Runs    []struct {
			Results []struct {
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	decode(t, "sarif", mistakes, &asSARIF)
	if len(asSARIF.Runs) != 1 || len(asSARIF.Runs[0].Results) != 2 {
		t.Fatalf("%+v", asSARIF)
	}
	second := asSARIF.Runs[0].Results[1]
	if asSARIF.Version != "2.1.0" || second.Message.Text != asJSON[1].Text || second.Locations[0].PhysicalLocation.Region.StartLine != 3 {
		t.Errorf("%+v", asSARIF)
	}
	for format, want := range map[setup.Format]string{"json": "[]\n", "sarif": `"results": []`} {
		var out strings.Builder
		if err := WriteMistakes(&out, format, nil); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s without mistakes: %s, %v", format, out.String(), err)
		}
	}
	if err := WriteMistakes(new(strings.Builder), "xml", nil); err == nil || !strings.Contains(err.Error(), "wanted json or sarif") {
		t.Errorf("error is %v", err)
	}
}

func decode(t *testing.T, format setup.Format, mistakes strictyaml.Mistakes, into any) {
	t.Helper()
	var out strings.Builder
	if err := WriteMistakes(&out, format, mistakes); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out.String()), into); err != nil {
		t.Fatal(err)
	}
}
