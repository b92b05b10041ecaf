// Package spdx writes bills of materials as SPDX 2.3 documents (https://spdx.github.io/spdx-spec/v2.3/): packages, with digests and
// package URLs, and relationships between them.
//
// Documents do not list files, because SPDX wants their SHA-1, nor licenses, because inputs do not have them.
package spdx

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/source/purl"
)

// Suffix ends the name of a document.
const Suffix = ".spdx.json"

const noAssertion = "NOASSERTION"

// Document is a bill of materials.
type Document struct {
	Version       string         `json:"spdxVersion"`
	License       string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Created       creation       `json:"creationInfo"`
	Packages      []Package      `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

// Package is anything that is made, or that something is made from.
type Package struct {
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
	Checksums []Checksum `json:"checksums,omitempty"`
	External  []external `json:"externalRefs,omitempty"`
	Comment   string     `json:"comment,omitempty"`
}

// Checksum is a digest of a package.
type Checksum struct {
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

// New returns an empty document. The unique part of its namespace is what no other document has, such as a digest.
func New(name, unique string, created time.Time) *Document {
	return &Document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: name,
		Namespace: "https://spdx.org/spdxdocs/oem-sysext/" + unique,
		Created:   creation{created.UTC().Format(time.RFC3339), []string{"Tool: oem-sysext"}},
	}
}

// Add adds a package unless its id exists, and returns the id.
func (d *Document) Add(p Package) string {
	if !slices.ContainsFunc(d.Packages, func(other Package) bool { return other.ID == p.ID }) {
		p.Location = cmp.Or(p.Location, noAssertion)
		p.Concluded, p.Declared, p.Copyright = noAssertion, noAssertion, noAssertion
		d.Packages = append(d.Packages, p)
	}
	return p.ID
}

// Relate adds a relationship unless it exists.
func (d *Document) Relate(element, kind, related string) {
	r := relationship{element, kind, related}
	if !slices.Contains(d.Relationships, r) {
		d.Relationships = append(d.Relationships, r)
	}
}

// Describe says what the document is about.
func (d *Document) Describe(id string) { d.Relate(d.ID, "DESCRIBES", id) }

// Encode returns the document as a file.
func (d *Document) Encode() ([]byte, error) {
	encoded, err := json.MarshalIndent(d, "", "  ")
	return append(encoded, '\n'), err
}

// Of returns the package of an input for an architecture.
func Of(i input.Input, arch string) Package {
	p := Package{ID: "SPDXRef-Input-" + Short(i.Kind, i.Name, i.Version, i.Digest), Name: i.Name, Version: i.Version}
	if i.Kind == "file" {
		p.File, p.Purpose = i.Name, "FILE"
	}
	if sum, isSHA256 := strings.CutPrefix(i.Digest, "sha256:"); isSHA256 {
		p.Checksums = []Checksum{{"SHA256", sum}}
	} else {
		p.Comment = "module sum " + i.Digest
	}
	p.Locate(i, arch)
	return p
}

// Locate adds the package URL of an input, if there is one.
func (p *Package) Locate(i input.Input, arch string) {
	if locator := purl.Of(i, arch); locator != "" {
		p.External = []external{{"PACKAGE-MANAGER", "purl", locator}}
	}
}

// SHA256 is a digest as a list of checksums.
func SHA256(d digest.SHA256) []Checksum { return []Checksum{{"SHA256", d.String()}} }

// Short turns any text into characters that an id may contain.
func Short(parts ...string) string { return digest.Of([]byte(strings.Join(parts, "\x00"))).Short() }
