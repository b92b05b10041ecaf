// Package manifest describes a release for whatever reads it later: reports, publishing, proofs.
//
// A manifest depends only on what went into the release, so the same inputs give the same bytes.
package manifest

import (
	"encoding/json"
	"fmt"

	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/digest"
	"github.com/flatcar/oem-sysext/oem/pack"
	"github.com/flatcar/oem-sysext/oem/size"
)

// Schema is the version of the format. A reader refuses other ones.
const Schema = 1

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
	Images    []Image           `json:"images"`
	Partition Partition         `json:"partition"`
	Files     []File            `json:"files"` // everything in the release directory but this file and SHA256SUMS
}

// Base is the OS release that the images are for.
type Base struct {
	ID        string        `json:"id"`         // of the reference base's definition
	VersionID string        `json:"version_id"` // os-release VERSION_ID=
	Archive   digest.SHA256 `json:"archive"`    // fingerprint of the package indexes it was assembled from
	Usr       digest.SHA256 `json:"usr"`        // of the listing of its /usr
}

// Image is one platform's extension.
type Image struct {
	Name     string        `json:"name"` // oem-ID
	Platform string        `json:"platform"`
	KernelID string        `json:"kernel_id"` // flatcar.oem.id=
	File     string        `json:"file"`      // in the release directory
	Embedded string        `json:"embedded"`  // path below /usr's root in the partition
	Size     size.Bytes    `json:"size"`
	SHA256   digest.SHA256 `json:"sha256"`
	Rung     pack.Rung     `json:"rung"`
	Files    int           `json:"files"`    // files and links in it
	Unpacked size.Bytes    `json:"unpacked"` // sum of their sizes
	Dropped  int           `json:"dropped"`  // files left out because the base has them
	Inputs   []build.Input `json:"inputs"`
}

// Partition is the USR partition with the images in it.
type Partition struct {
	File       string        `json:"file"`
	Filesystem size.Bytes    `json:"filesystem"` // length of the file system; dm-verity's superblock is right behind it
	RootHash   digest.SHA256 `json:"root_hash"`
	Salt       string        `json:"salt"` // hexadecimal
	UUID       string        `json:"uuid"` // of the dm-verity superblock
	FreeBefore size.Bytes    `json:"free_before"`
	FreeAfter  size.Bytes    `json:"free_after"`
}

// File is one file of the release directory.
type File struct {
	Name   string        `json:"name"`
	Size   size.Bytes    `json:"size"`
	SHA256 digest.SHA256 `json:"sha256"`
}

// Encode returns the manifest as indented JSON.
func (m *Manifest) Encode() ([]byte, error) {
	encoded, err := json.MarshalIndent(m, "", "  ")
	return append(encoded, '\n'), err
}

// Decode reads a manifest of this schema.
func Decode(content []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if m.Schema != Schema {
		return nil, fmt.Errorf("manifest has the schema %d; wanted %d", m.Schema, Schema)
	}
	return &m, nil
}
