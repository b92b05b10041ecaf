// Package proof has what was proven of a release, as data.
//
// In go outcomes of machines, out comes proof.json beside the release's files, and what reports show of it. Refused are proofs
// of another schema, and parts that do not make one proof of one release.
package proof

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// Release is a release on disk.
type Release struct {
	Dir      string
	Manifest *manifest.Manifest
}

// OpenRelease reads the release in a directory.
func OpenRelease(dir string) (Release, error) {
	m, err := manifest.Read(dir)
	return Release{dir, m}, err
}

// Path is where a file of the release is.
func (r Release) Path(name string) string { return filepath.Join(r.Dir, name) }

// The files of a release that a machine boots.
const (
	Kernel = "vmlinuz"
	Initrd = "initrd" // a base whose kernel carries its initramfs has none
)

// Proof says what was proven of a release.
type Proof struct {
	Schema   int                      `json:"schema"`
	Version  string                   `json:"version"`
	Arch     string                   `json:"arch"`
	Base     string                   `json:"base"`
	Booted   map[string]digest.SHA256 `json:"booted"` // files of the release
	Accel    string                   `json:"accel"`  // kvm or tcg
	Machines []Machine                `json:"machines"`
}

// Schema is the version of the proof's format.
const Schema = 1

// Machine is one that was booted.
type Machine struct {
	Platform string    `json:"platform"`
	Step     string    `json:"step,omitempty"`    // of a story that is told on one disk
	Images   []string  `json:"images"`            // that it should merge
	Seconds  float64   `json:"seconds"`           // from the kernel's start to the last unit; zero when it did not get there
	Error    string    `json:"error,omitempty"`   // that kept it from answering
	Outcomes []Outcome `json:"outcomes"`          // none when it did not answer
	Soak     *vm.Soak  `json:"soak,omitempty"`    // when what is merged was refreshed again and again
	Console  string    `json:"console,omitempty"` // where its console is kept, when something is wrong
}

// Faults counts the assertions that failed.
func (m Machine) Faults() int {
	n := 0
	for _, o := range m.Outcomes {
		if o.Error != "" {
			n++
		}
	}
	return n
}

// Failed is whether the machine did not answer or failed an assertion.
func (m Machine) Failed() bool { return m.Error != "" || m.Faults() > 0 }

// Failed counts the machines that failed.
func (p *Proof) Failed() int {
	n := 0
	for _, m := range p.Machines {
		if m.Failed() {
			n++
		}
	}
	return n
}

// Encode returns the proof as indented JSON.
func (p *Proof) Encode() ([]byte, error) {
	encoded, err := json.MarshalIndent(p, "", "  ")
	return append(encoded, '\n'), err
}

// Outcome is one assertion and why it failed, if it did.
type Outcome struct {
	Assertion string `json:"assertion"`
	Error     string `json:"error,omitempty"`
}

// Assert is the outcome of one assertion; nil means that it holds.
func Assert(assertion string, err error) Outcome {
	o := Outcome{Assertion: assertion}
	if err != nil {
		o.Error = err.Error()
	}
	return o
}

// Decode reads a proof of this schema.
func Decode(content []byte) (*Proof, error) {
	var p Proof
	if err := json.Unmarshal(content, &p); err != nil {
		return nil, fmt.Errorf("proof: %w", err)
	}
	if p.Schema != Schema {
		return nil, fmt.Errorf("proof has the schema %d; wanted %d", p.Schema, Schema)
	}
	return &p, nil
}

// Begin notes what of a release will be booted, and how its instructions will be run.
func Begin(r Release, accel string) (*Proof, error) {
	p := &Proof{
		Schema: Schema, Version: r.Manifest.Version, Arch: r.Manifest.Arch, Base: r.Manifest.Base.ID,
		Booted: map[string]digest.SHA256{}, Accel: accel,
	}
	for _, f := range r.Manifest.Files {
		if !slices.Contains([]string{Kernel, Initrd, r.Manifest.Partition.File}, f.Name) {
			continue
		}
		d, _, err := digest.OfFile(r.Path(f.Name))
		if err != nil {
			return nil, err
		}
		if d != f.SHA256 {
			return nil, fmt.Errorf("%s is not what its manifest says: it has the digest %v; wanted %v", r.Path(f.Name), d, f.SHA256)
		}
		p.Booted[f.Name] = d
	}
	return p, nil
}
