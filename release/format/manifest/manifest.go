// Package manifest describes a release for whatever reads it later: reports, publishing, proofs.
//
// A manifest depends only on what went into the release, so the same inputs give the same bytes.
package manifest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/oem/image/rung"
	"github.com/flatcar/oem-sysext/oem/source/input"
)

// Schema is the version of the format. A reader refuses other ones.
const Schema = 2

// FileName is the manifest's name in a release directory.
const FileName = "manifest.json"

// Manifest is one release for one architecture.
type Manifest struct {
	Schema    int               `json:"schema"`
	Version   string            `json:"version"`
	Arch      string            `json:"arch"`
	Epoch     int64             `json:"epoch"` // the time of everything that has one, in seconds since 1970
	Base      Base              `json:"base"`
	Tools     map[string]string `json:"tools"` // what decides bytes: packages of the tool root and Go modules, by version
	Go        string            `json:"go"`    // the toolchain that compiled recipes' programs
	Recipes   []Recipe          `json:"recipes"`
	Platforms []Platform        `json:"platforms"`
	Images    []Image           `json:"images"` // platforms' own ones and shared ones, by name
	// Extensions beside the OEM tools, in the order of the profile.
	Extensions []Extension `json:"extensions,omitempty"`
	// Source is the commit of the checkout; nil when it is no clone.
	Source *Source `json:"source,omitempty"`
	// ToolPackages are all packages of the tool root, whose programs were run.
	ToolPackages []Package `json:"tool_packages,omitempty"`
	// Programs are those of Go in images, with all that was compiled into them.
	Programs []Program `json:"go_programs,omitempty"`
	// DevelopmentKeys says what is signed with the key of a cache, which nobody should trust: PayloadsSigned, ImagesSigned.
	DevelopmentKeys []string      `json:"development_keys,omitempty"`
	SignedBy        digest.SHA256 `json:"signed_by,omitzero"` // of the certificate in /usr that images are verified by, when they are signed
	Plan            Plan          `json:"plan"`
	Partition       Partition     `json:"partition"`
	Kernel          Kernel        `json:"kernel"`
	Update          *Update       `json:"update,omitempty"`   // where the release sends its machines for the next one; nil when it is as the base has it
	Payloads        []Payload     `json:"payloads,omitempty"` // the OS's first, then one of each platform
	Deltas          []Delta       `json:"deltas,omitempty"`   // of the OS, for machines of earlier releases
	Initrds         []Initrd      `json:"initrds,omitempty"`  // of platforms that have an image for initramfs
	Files           []File        `json:"files"`              // everything in the release directory but what is made from this file
}

// What a development key may have signed.
const (
	PayloadsSigned = "update payloads"
	ImagesSigned   = "extension images"
)

// Base is the OS release that the images are for.
type Base struct {
	ID        string        `json:"id"`               // of the reference base's definition; flatcar for all of Flatcar's releases
	VersionID string        `json:"version_id"`       // os-release VERSION_ID=
	Build     string        `json:"build,omitempty"`  // os-release BUILD_ID=
	Systemd   string        `json:"systemd"`          // its version
	Kernel    string        `json:"kernel,omitempty"` // its release, as uname -r prints it
	Archive   digest.SHA256 `json:"archive,omitzero"` // fingerprint of the package indexes that a reference base was assembled from
	Source    digest.SHA256 `json:"source,omitzero"`  // of the file that one of Flatcar's releases came in
	Usr       digest.SHA256 `json:"usr"`              // of the listing of its /usr
	Packages  []Package     `json:"packages,omitempty"`
}

// Source is what a release was made by.
type Source struct {
	Commit string `json:"commit"`
	Dirty  bool   `json:"dirty,omitempty"` // files differed from it
}

// Package is one of a distribution.
type Package struct {
	Kind    string `json:"kind"` // deb or binpkg
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch,omitempty"` // of a Debian package
}

// Program was compiled by Go, which writes these facts into it (go version -m).
type Program struct {
	Path    string        `json:"path"` // the first of those that have this content
	SHA256  digest.SHA256 `json:"sha256"`
	Go      string        `json:"go"`      // version of the toolchain, whose standard library is in it
	Package string        `json:"package"` // import path
	Module  Module        `json:"module"`
	Modules []Module      `json:"modules,omitempty"` // all others that are in it
}

// Module is one of Go.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version,omitempty"`
	Sum     string `json:"sum,omitempty"` // h1:…; empty for the main module
}

// Recipe is what one tool was made from.
type Recipe struct {
	Name   string        `json:"name"`
	Inputs []input.Input `json:"inputs"`
}

// Platform is one cloud.
type Platform struct {
	ID        string           `json:"id"`
	Name      string           `json:"name"`             // for people
	KernelID  string           `json:"kernel_id"`        // flatcar.oem.id=
	Origin    string           `json:"origin,omitempty"` // upstream or repacked: its tools are of Flatcar's image; empty: of recipes
	Placement budget.Placement `json:"placement"`
	Activates []string         `json:"activates"` // names of images that make up the platform, its own one first
	Recipes   []string         `json:"recipes"`
	// Missing are tools that should be there and are not to be had, with the reason.
	Missing  map[string]string `json:"missing,omitempty"`
	Files    int               `json:"files"`             // files and links in all that it activates
	Unpacked size.Bytes        `json:"unpacked"`          // sum of their sizes
	Dropped  int               `json:"dropped"`           // files left out because the base has them
	Read     int64             `json:"read_microseconds"` // what a cold read of all that it activates takes on the machine of the calibration
}

// Image is one extension image.
type Image struct {
	Name      string        `json:"name"`      // oem-ID or oem-shared-…
	Platforms []string      `json:"platforms"` // ids of those that activate it
	File      string        `json:"file"`      // in the release directory
	Embedded  string        `json:"embedded"`  // path below /usr's root in the partition; empty when it is not embedded
	Size      size.Bytes    `json:"size"`
	SHA256    digest.SHA256 `json:"sha256"`
	Rung      rung.Rung     `json:"rung,omitzero"`      // zero for an image that Flatcar published, byte for byte
	RootHash  digest.SHA256 `json:"root_hash,omitzero"` // of its dm-verity data, when it is a signed image
	Cost      size.Bytes    `json:"cost"`               // what the file system loses by embedding it; zero when it is not embedded
	Read      int64         `json:"read_microseconds"`  // what a cold read of all its files takes on the machine of the calibration
	Unpacked  size.Bytes    `json:"unpacked"`           // sum of the sizes of its files
	Contents  []Content     `json:"contents"`           // files and links, by path
}

// Extension is one that the profile brings, in one version.
type Extension struct {
	Name      string        `json:"name"`
	Version   string        `json:"version,omitempty"`
	Default   bool          `json:"default,omitempty"`
	Enable    string        `json:"enable,omitempty"`    // always, by-name or platforms; empty when it is flattened
	Platforms []string      `json:"platforms,omitempty"` // ids of those whose machines have it
	Inputs    []input.Input `json:"inputs"`
	AsIs      bool          `json:"as_is,omitempty"`    // the image is the one that it came as
	Coupled   bool          `json:"coupled,omitempty"`  // it is for this release of the OS only
	Embedded  string        `json:"embedded,omitempty"` // path below /usr's root in the partition; empty when it is flattened
	Size      size.Bytes    `json:"size,omitempty"`     // of the image
	SHA256    digest.SHA256 `json:"sha256,omitzero"`
	Rung      *rung.Rung    `json:"rung,omitempty"`     // of what was packed here
	RootHash  digest.SHA256 `json:"root_hash,omitzero"` // of its dm-verity data, when it is signed
	SignedBy  digest.SHA256 `json:"signed_by,omitzero"` // of the certificate, when it came with a signature
	Cost      size.Bytes    `json:"cost,omitempty"`     // what the file system loses by embedding it, at most
	Unpacked  size.Bytes    `json:"unpacked"`           // sum of the sizes of its files
	Contents  []Content     `json:"contents"`           // files and links, by path
}

// Update is what update_engine reads in the release's /usr. What is empty is as the base has it.
type Update struct {
	Server string        `json:"server,omitempty"`
	Group  string        `json:"group,omitempty"`
	Key    digest.SHA256 `json:"key,omitzero"` // of the public key that payloads are verified with, as a DER SubjectPublicKeyInfo
}

// Content is one file or symbolic link of an image.
type Content struct {
	Path   string        `json:"path"`
	Size   int64         `json:"size,omitempty"`   // unpacked, in bytes
	SHA256 digest.SHA256 `json:"sha256,omitzero"`  // zero for links
	Target string        `json:"target,omitempty"` // of a link
	Recipe string        `json:"recipe,omitempty"` // empty for what staging adds
}

// Plan is what was chosen so that everything fits.
type Plan struct {
	Profile string          `json:"profile"` // its name
	Budgets []budget.Budget `json:"budgets"`
	// Least is what all images take in /usr at least, however they are packed: a lower bound from the calibration.
	Least size.Bytes `json:"least,omitempty"`
}

// Partition is the USR partition with the images in it.
type Partition struct {
	File       string        `json:"file"`
	Filesystem size.Bytes    `json:"filesystem"` // length of the file system; dm-verity's superblock is right behind it
	RootHash   digest.SHA256 `json:"root_hash"`
	Line       string        `json:"line"` // of the base; releases of one line have one salt
	Salt       string        `json:"salt"` // hexadecimal
	UUID       string        `json:"uuid"` // of the dm-verity superblock
	FreeBefore size.Bytes    `json:"free_before"`
	FreeAfter  size.Bytes    `json:"free_after"`
}

// Where machines get the root hash of the partition from.
const (
	InKernel      = "kernel"       // Flatcar's boot loader reads it there
	OnCommandLine = "command line" // of the kernel, by other means
)

// Kernel is the kernel that boots the partition.
type Kernel struct {
	RootHash string        `json:"root_hash"`                    // InKernel or OnCommandLine
	Stripped bool          `json:"signature_stripped,omitempty"` // the base's had a Secure Boot signature, which is off
	SignedBy digest.SHA256 `json:"signed_by,omitzero"`           // of the certificate of its new Secure Boot signature
}

// Payload is what machines download to update.
type Payload struct {
	File     string     `json:"file"`               // in the release directory
	Platform string     `json:"platform,omitempty"` // id, of a platform's tools; empty for the OS
	Image    Installed  `json:"image"`              // the USR partition, or one extension image with all of the platform
	Kernel   *Installed `json:"kernel,omitempty"`   // of the OS
	Rung     *rung.Rung `json:"rung,omitempty"`     // of the extension image
}

// Delta is what machines of one earlier release download to update, in place of the whole.
type Delta struct {
	File   string    `json:"file"`   // in the release directory
	From   string    `json:"from"`   // version of the earlier release; the others refuse it
	Image  Installed `json:"image"`  // its USR partition
	Kernel Installed `json:"kernel"` // its kernel
}

// Initrd is a platform's image for initramfs, and the forms in which boot loaders take it.
type Initrd struct {
	Platform string        `json:"platform"` // id
	Recipes  []string      `json:"recipes"`
	Modules  []string      `json:"modules,omitempty"` // of the kernel, by the platform's names
	Rung     rung.Rung     `json:"rung"`
	Image    Installed     `json:"image"`     // that initramfs and systems merge
	RootHash digest.SHA256 `json:"root_hash"` // of the signed image, for systemd-stub
	Files    []File        `json:"-"`         // which are among those of the release directory

	// SecondStage says that the image is in the initramfs that lies in /usr.
	SecondStage bool `json:"second_stage,omitempty"`
}

// Installed is what a payload becomes on the machine.
type Installed struct {
	Size   size.Bytes    `json:"size"`
	SHA256 digest.SHA256 `json:"sha256"`
}

// File is one file of the release directory.
type File struct {
	Name   string        `json:"name"`
	Size   size.Bytes    `json:"size"`
	SHA256 digest.SHA256 `json:"sha256"`
}

// Installed returns what the file is when it is installed as it is.
func (f File) Installed() Installed { return Installed{f.Size, f.SHA256} }

// Add adds a file to those that are there, which are in the order of their names.
func (m *Manifest) Add(f File) {
	at, _ := slices.BinarySearchFunc(m.Files, f.Name, func(f File, name string) int { return strings.Compare(f.Name, name) })
	m.Files = slices.Insert(m.Files, at, f)
}

// File returns a file of the release directory; a zero one when there is none of the name.
func (m *Manifest) File(name string) File {
	for _, f := range m.Files {
		if f.Name == name {
			return f
		}
	}
	return File{}
}

// Encode returns the manifest as indented JSON.
func (m *Manifest) Encode() ([]byte, error) {
	encoded, err := json.MarshalIndent(m, "", "  ")
	return append(encoded, '\n'), err
}

// Decode reads a manifest of this schema. Names in it are shown to people; text that does something where it is shown is refused.
func Decode(content []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if m.Schema != Schema {
		return nil, fmt.Errorf("manifest has the schema %d; wanted %d", m.Schema, Schema)
	}
	var texts any
	if err := json.Unmarshal(content, &texts); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if err := checkTexts("manifest", texts); err != nil {
		return nil, err
	}
	return &m, nil
}

// checkTexts checks all texts in a JSON value.
func checkTexts(where string, value any) error {
	switch value := value.(type) {
	case string:
		if err := foreign.Check(value); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	case []any:
		for i, item := range value {
			if err := checkTexts(fmt.Sprintf("%s[%d]", where, i), item); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, item := range value {
			if err := checkTexts(where, key); err != nil {
				return err
			}
			if err := checkTexts(where+"."+key, item); err != nil {
				return err
			}
		}
	}
	return nil
}

// Read reads the manifest at a path, which is a file's or a release directory's.
func Read(path string) (*Manifest, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, FileName)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m, err := Decode(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}
