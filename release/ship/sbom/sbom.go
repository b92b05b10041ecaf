// Package sbom writes a release's bills of materials as SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/): one document for each
// image, and one for the whole release.
//
// In: a manifest. Out: JSON, the same for the same manifest. It lists the packages in each image, with digests and package URLs.
// It does not list files, because SPDX wants their SHA-1, nor licenses, because manifests do not contain them.
package sbom

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/ship/purl"
)

// Suffix follows the image's name in a document's name; ReleaseName is the document of the release.
const (
	Suffix      = ".spdx.json"
	ReleaseName = "release" + Suffix
)

const noAssertion = "NOASSERTION"

type document struct {
	Version       string         `json:"spdxVersion"`
	License       string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Created       creation       `json:"creationInfo"`
	Packages      []pkg          `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type pkg struct {
	ID        string     `json:"SPDXID"`
	Name      string     `json:"name"`
	Version   string     `json:"versionInfo,omitempty"`
	File      string     `json:"packageFileName,omitempty"`
	Location  string     `json:"downloadLocation"`
	Analyzed  bool       `json:"filesAnalyzed"`
	Concluded string     `json:"licenseConcluded"`
	Declared  string     `json:"licenseDeclared"`
	Copyright string     `json:"copyrightText"`
	Purpose   string     `json:"primaryPackagePurpose,omitempty"`
	Checksums []checksum `json:"checksums,omitempty"`
	External  []external `json:"externalRefs,omitempty"`
	Comment   string     `json:"comment,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type external struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

// Documents returns all documents of a release by name.
func Documents(m *manifest.Manifest) (map[string][]byte, error) {
	documents := map[string][]byte{}
	for _, i := range m.Images {
		d := newDocument(m, i.File)
		d.describe(d.image(m, i))
		if err := d.encode(documents, i.File+Suffix); err != nil {
			return nil, err
		}
	}
	return documents, release(m).encode(documents, ReleaseName)
}

// release lists all files of a release and the packages in each image.
func release(m *manifest.Manifest) *document {
	d := newDocument(m, "oem-tools")
	whole := d.add(pkg{ID: "SPDXRef-Release", Name: "oem-tools", Version: m.Version, Purpose: "OPERATING-SYSTEM"})
	d.describe(whole)
	base := pkg{
		ID: "SPDXRef-Base", Name: m.Base.ID, Version: m.Base.VersionID, Purpose: "OPERATING-SYSTEM",
		Comment: "systemd " + m.Base.Systemd + ", kernel " + m.Base.Kernel + ", listing of /usr sha256:" + m.Base.Usr.String(),
	}
	if !m.Base.Source.IsZero() {
		base.Checksums = sha256(m.Base.Source)
	}
	d.relate(whole, "GENERATED_FROM", d.add(base))
	for _, p := range m.Base.Packages {
		d.relate("SPDXRef-Base", "CONTAINS", d.add(installed(p)))
	}
	for _, p := range m.ToolPackages {
		d.relate(d.add(installed(p)), "BUILD_TOOL_OF", whole)
	}
	if m.Source != nil {
		d.relate(whole, "GENERATED_FROM", d.add(source(*m.Source)))
	}
	ids := map[string]string{}
	for _, i := range m.Images {
		ids[i.File] = d.image(m, i)
	}
	for _, f := range m.Files {
		if ids[f.Name] == "" {
			ids[f.Name] = d.add(pkg{ID: "SPDXRef-File-" + short(f.Name), Name: f.Name, Version: m.Version, File: f.Name, Purpose: "FILE", Checksums: sha256(f.SHA256)})
		}
		d.relate(whole, "CONTAINS", ids[f.Name])
	}
	for _, i := range m.Images {
		if i.Embedded != "" {
			d.relate(ids[m.Partition.File], "CONTAINS", ids[i.File])
		}
	}
	return d
}

func newDocument(m *manifest.Manifest, name string) *document {
	return &document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: name + "-" + m.Version + "-" + m.Arch,
		// Unique: it contains the root hash and the image's name.
		Namespace: fmt.Sprintf("https://spdx.org/spdxdocs/oem-sysext/%s/%s/%v", m.Arch, name, m.Partition.RootHash),
		Created:   creation{time.Unix(m.Epoch, 0).UTC().Format(time.RFC3339), []string{"Tool: oem-sysext"}},
	}
}

// add adds a package unless its id exists, and returns the id.
func (d *document) add(p pkg) string {
	if !slices.ContainsFunc(d.Packages, func(other pkg) bool { return other.ID == p.ID }) {
		p.Location = cmp.Or(p.Location, noAssertion)
		p.Concluded, p.Declared, p.Copyright = noAssertion, noAssertion, noAssertion
		d.Packages = append(d.Packages, p)
	}
	return p.ID
}

func (d *document) relate(element, kind, related string) {
	r := relationship{element, kind, related}
	if !slices.Contains(d.Relationships, r) {
		d.Relationships = append(d.Relationships, r)
	}
}

func (d *document) describe(id string) { d.relate(d.ID, "DESCRIBES", id) }

// image adds an image and the inputs of all recipes with files in it.
func (d *document) image(m *manifest.Manifest, i manifest.Image) string {
	id := d.add(pkg{
		ID: "SPDXRef-Image-" + short(i.File), Name: i.Name, Version: m.Version, File: i.File, Purpose: "ARCHIVE", Checksums: sha256(i.SHA256),
		Comment: "systemd-sysext image for " + strings.Join(i.Platforms, ", "),
	})
	recipes, files := map[string]bool{}, map[digest.SHA256]bool{}
	for _, c := range i.Contents {
		recipes[c.Recipe], files[c.SHA256] = true, true
	}
	for _, p := range m.Programs {
		if !files[p.SHA256] {
			continue
		}
		modules := append([]manifest.Module{{Path: "stdlib", Version: strings.TrimPrefix(p.Go, "go")}}, p.Modules...)
		for _, module := range modules {
			d.relate(id, "CONTAINS", d.add(compiled(module)))
		}
	}
	for _, r := range m.Recipes {
		if !recipes[r.Name] {
			continue
		}
		for _, in := range r.Inputs {
			d.relate(id, "GENERATED_FROM", d.add(madeFrom(in, m.Arch)))
		}
	}
	return id
}

// project is where the pipeline's own source is.
const project = "https://github.com/flatcar/oem-sysext"

// source is the commit that the release was made by.
func source(s manifest.Source) pkg {
	p := pkg{ID: "SPDXRef-Source", Name: "oem-sysext", Version: s.Commit, Location: "git+" + project + ".git@" + s.Commit, Purpose: "SOURCE"}
	if s.Dirty {
		p.Comment = "dirty: files of the checkout differed from this commit"
	}
	return p
}

// installed is a package of the base or of the tool root.
func installed(i manifest.Package) pkg {
	p := pkg{ID: "SPDXRef-Package-" + short(i.Kind, i.Name, i.Version, i.Arch), Name: i.Name, Version: i.Version}
	p.locate(input.Input{Kind: i.Kind, Name: i.Name, Version: i.Version}, i.Arch)
	return p
}

// compiled is a module that was compiled into a program, or Go's standard library.
func compiled(m manifest.Module) pkg {
	p := pkg{ID: "SPDXRef-Module-" + short(m.Path, m.Version, m.Sum), Name: m.Path, Version: m.Version}
	if m.Sum != "" {
		p.Comment = "module sum " + m.Sum
	}
	p.locate(input.Input{Kind: "go", Name: m.Path, Version: m.Version}, "")
	return p
}

// locate adds the package URL, if there is one.
func (p *pkg) locate(i input.Input, arch string) {
	if locator := purl.Of(i, arch); locator != "" {
		p.External = []external{{"PACKAGE-MANAGER", "purl", locator}}
	}
}

func madeFrom(i input.Input, arch string) pkg {
	p := pkg{ID: "SPDXRef-Input-" + short(i.Kind, i.Name, i.Version, i.Digest), Name: i.Name, Version: i.Version}
	if i.Kind == "file" {
		p.File, p.Purpose = i.Name, "FILE"
	}
	if sum, isSHA256 := strings.CutPrefix(i.Digest, "sha256:"); isSHA256 {
		p.Checksums = []checksum{{"SHA256", sum}}
	} else {
		p.Comment = "module sum " + i.Digest
	}
	p.locate(i, arch)
	return p
}

func sha256(d digest.SHA256) []checksum { return []checksum{{"SHA256", d.String()}} }

// short turns any text into characters that an id may contain.
func short(parts ...string) string { return digest.Of([]byte(strings.Join(parts, "\x00"))).Short() }

func (d *document) encode(to map[string][]byte, name string) error {
	encoded, err := json.MarshalIndent(d, "", "  ")
	to[name] = append(encoded, '\n')
	return err
}
