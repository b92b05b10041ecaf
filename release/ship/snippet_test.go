package ship

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/flatcar/oem-sysext/release/format/manifest"
)

func TestSnippets(t *testing.T) {
	none, err := snippets(&manifest.Manifest{Extensions: []manifest.Extension{{Name: "a", Enable: "always", Embedded: "x"}, {Name: "b"}}})
	if err != nil || none != nil {
		t.Errorf("%v, %v", none, err)
	}
	all, err := snippets(&manifest.Manifest{Version: "1.2.3", Extensions: []manifest.Extension{
		{Name: "c++", Enable: "by-name", Embedded: "share/flatcar/oem-sysext/c++.raw"},
		{Name: "two", Version: "1", Enable: "by-name", Embedded: "share/flatcar/oem-sysext/two.raw.v/two_1.raw"},
		{Name: "two", Version: "2", Enable: "by-name", Default: true, Embedded: "share/flatcar/oem-sysext/two.raw.v/two_2.raw"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	const want = "c++\n# two=1\ntwo # 2\n"
	var butane struct {
		Variant string
		Storage struct {
			Files []struct{ Contents struct{ Inline string } }
		}
	}
	if err := yaml.Unmarshal(all[butaneFile], &butane); err != nil || butane.Variant != "flatcar" || butane.Storage.Files[0].Contents.Inline != want {
		t.Errorf("%v, %+v of\n%s", err, butane, all[butaneFile])
	}
	if !strings.Contains(string(all[butaneFile]), "{path: /etc/extensions/two.raw, target: /usr/share/flatcar/oem-sysext/two.raw.v/two_2.raw}") {
		t.Errorf("no link in\n%s", all[butaneFile])
	}
	var ignition struct {
		Storage struct {
			Files []struct{ Contents struct{ Source string } }
		}
	}
	if err := json.Unmarshal(all[ignitionFile], &ignition); err != nil {
		t.Fatal(err)
	}
	got, err := url.PathUnescape(strings.TrimPrefix(ignition.Storage.Files[0].Contents.Source, "data:,"))
	if err != nil || got != want {
		t.Errorf("Ignition has %q, %v", got, err)
	}
}
