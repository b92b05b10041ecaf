// Package sysupdate writes the files by which a machine gets a platform's extension from a published release: a definition for
// systemd-sysupdate, and a Butane snippet that provisions a machine with the definition and the extension.
//
// In: a manifest and the base address of releases. Out: names and contents of two files for each platform whose whole image is
// among the release's files. The image's name contains version and architecture, since systemd-sysupdate finds versions by name.
//
// An extension is for one version of the OS, named in its extension-release: machines of another version do not merge it. So a machine
// gets that of the version that it runs, not the newest one.
package sysupdate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"text/template"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/release/bases/features"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// DefaultAddress is the base address of this project's releases.
const DefaultAddress = "https://github.com/flatcar/oem-sysext/releases"

// ImageName returns the name of a platform's whole image. Servers do not keep the plus sign of a nightly's version, so it becomes
// an underscore, which does not affect the order of versions (systemd's strverscmp_improved).
func ImageName(image string, m *manifest.Manifest) string {
	return fmt.Sprintf("%s-%s-%s.raw", image, strings.ReplaceAll(m.Version, "+", "_"), arch.Arch(m.Arch).Systemd())
}

// extension is the data of the templates.
type extension struct {
	Name    string // oem-ID
	Image   string
	SHA256  string
	Running string // address of the directory with the files of the release that the machine runs
	Tagged  string // and of this one's
	File    string // name of the definition
	Title   string
	Inlined string // the definition, as a YAML string
}

var definition = template.Must(template.New("definition").Parse(`# {{.Title}}
# Put into /etc/sysupdate.{{.Name}}.d, then: systemd-sysupdate --component={{.Name}} update && systemctl restart systemd-sysext
# /etc/extensions has to be there, and the key that signs SHA256SUMS in /etc/systemd/import-pubring.gpg.
[Transfer]
Verify=yes

[Source]
Type=url-file
Path={{.Running}}
MatchPattern={{.Name}}-@v-%a.raw

[Target]
Type=regular-file
Path=/opt/extensions/{{.Name}}
MatchPattern={{.Name}}-@v-%a.raw
CurrentSymlink=/etc/extensions/{{.Name}}.raw
Mode=0644
InstancesMax=3
`))

var butane = template.Must(template.New("butane").Parse(`# {{.Title}}
# To be merged into a machine's Butane configuration.
variant: flatcar
version: 1.0.0
storage:
  files:
    - path: /opt/extensions/{{.Name}}/{{.Image}}
      mode: 0644
      contents:
        source: {{.Tagged}}/{{.Image}}
        verification:
          hash: sha256-{{.SHA256}}
    - path: /etc/sysupdate.{{.Name}}.d/{{.File}}
      mode: 0644
      contents:
        inline: {{.Inlined}}
  links:
    - path: /etc/extensions/{{.Name}}.raw
      target: /opt/extensions/{{.Name}}/{{.Image}}
      hard: false
`))

// versionID is what systemd replaces by the VERSION_ID of the running system (sysupdate.d(5)).
const versionID = "%w"

// running returns the address of the files for the version of the OS that a machine runs, which its image has to be for. A nightly is for
// its own version only: its tag is not what os-release says.
func running(m *manifest.Manifest, address, tag string) string {
	escape := func(text string) string { return strings.ReplaceAll(text, "%", "%%") }
	if tag = escape(tag); m.Version == m.Base.VersionID {
		tag = strings.Replace(tag, m.Version, versionID, 1)
	}
	return escape(address) + "/download/" + tag
}

// Files returns the files of all platforms by name. An empty address means DefaultAddress. tag is the release's tag.
func Files(m *manifest.Manifest, address, tag string) (map[string][]byte, error) {
	address = strings.TrimSuffix(cmp.Or(address, DefaultAddress), "/")
	suffix := ".transfer"
	if systemd := features.Of(m.Base.Systemd); systemd.Check() == nil && !systemd.TransferNames() {
		suffix = ".conf"
	}
	files := map[string][]byte{}
	for _, p := range m.Platforms {
		name := "oem-" + p.ID
		e := extension{
			Name: name, Image: ImageName(name, m), Title: "OEM tools for " + strings.Join(strings.Fields(p.Name), " ") + ", " + m.Version,
			Running: running(m, address, tag), Tagged: address + "/download/" + tag, File: name + suffix,
		}
		file := m.File(e.Image)
		if file.Name == "" {
			continue
		}
		e.SHA256 = file.SHA256.String()
		var text, snippet bytes.Buffer
		if err := definition.Execute(&text, e); err != nil {
			return nil, err
		}
		inlined, err := json.Marshal(text.String()) // JSON strings are YAML strings
		if err != nil {
			return nil, err
		}
		e.Inlined = string(inlined)
		if err := butane.Execute(&snippet, e); err != nil {
			return nil, err
		}
		files[e.File], files[name+".butane.yaml"] = text.Bytes(), snippet.Bytes()
	}
	return files, nil
}
