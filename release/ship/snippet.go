package ship

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// The files with configurations that enable a release's extensions at provisioning.
const (
	butaneFile   = "extensions.bu"
	ignitionFile = "extensions.ign"
	choiceFile   = "/etc/flatcar/oem-sysext.conf"
)

// snippets returns configurations for Butane and Ignition that enable all by-name extensions, or nothing if the release has
// none.
func snippets(m *manifest.Manifest) (map[string][]byte, error) {
	var lines, links []string
	named := map[string]bool{}
	for _, x := range m.Extensions {
		switch {
		case x.Embedded == "" || x.Enable != string(profiles.ByName):
			continue
		case x.Version == "":
			lines = append(lines, x.Name)
		case x.Default:
			lines = append(lines, x.Name+" # "+x.Version)
		default:
			lines = append(lines, "# "+x.Name+"="+x.Version)
		}
		if !named[x.Name] && (x.Version == "" || x.Default) {
			named[x.Name] = true
			links = append(links, fmt.Sprintf("  #   - {path: /etc/extensions/%s.raw, target: /usr/%s}\n", x.Name, x.Embedded))
		}
	}
	if len(lines) == 0 {
		return nil, nil
	}
	var butane strings.Builder
	fmt.Fprintf(&butane, `# Enables the extensions of release %s. Remove the lines of those that you do not want.
variant: flatcar
version: 1.0.0
storage:
  files:
    - path: %s
      mode: 0644
      contents:
        inline: |
          %s
  # Links in /usr/%s do the same for one extension each:
  # links:
%s`, m.Version, choiceFile, strings.Join(lines, "\n          "), embed.Dir, strings.Join(links, ""))
	content := strings.Join(lines, "\n") + "\n"
	type object = map[string]any
	ignition, err := json.MarshalIndent(object{
		"ignition": object{"version": "3.3.0"},
		"storage": object{"files": []object{{
			"path": choiceFile, "mode": 0o644, "contents": object{"source": "data:," + strings.ReplaceAll(url.QueryEscape(content), "+", "%20")},
		}}},
	}, "", "  ")
	return map[string][]byte{butaneFile: []byte(butane.String()), ignitionFile: append(ignition, '\n')}, err
}
