// Package prove boots a release in virtual machines and asserts what it promises.
//
// In go a release directory and the definitions of its platforms; out comes a proof: what was booted, by digest,
// what was asserted, and what spoke against it. Machines have the markers and the OEM partition of their cloud,
// dm-verity below /usr, and no network.
package prove

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// Release is a release on disk.
type Release struct {
	Dir      string
	Manifest *manifest.Manifest
}

// Open reads the release in a directory.
func Open(dir string) (Release, error) {
	m, err := manifest.Read(dir)
	return Release{dir, m}, err
}

func (r Release) path(name string) string { return filepath.Join(r.Dir, name) }

// The files of a release that a machine boots.
const (
	kernel = "vmlinuz"
	initrd = "initrd" // a base whose kernel carries its initramfs has none
)

// Prover boots machines.
type Prover struct {
	Tools    *toolroot.Root
	Accel    vm.Accel      // of a machine that has the host to itself
	Scratch  string        // an existing directory; what is in it can go afterwards
	Consoles string        // where the consoles of machines that failed are kept
	Timeout  time.Duration // of one boot
	Jobs     int           // machines at a time
	Log      *slog.Logger

	Refreshes int // of what is merged, in machines of Platforms; in tens, and none mostly
}

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

// Faults counts the assertions that something speaks against.
func (m Machine) Faults() int {
	n := 0
	for _, o := range m.Outcomes {
		if o.Error != "" {
			n++
		}
	}
	return n
}

// Failed tells whether anything speaks against the machine.
func (m Machine) Failed() bool { return m.Error != "" || m.Faults() > 0 }

// Failed counts the machines that something spoke against.
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

// Platforms proves that each of the platforms finds its tools in a release: booted from slot B, chosen by the OEM partition.
// An error says that it could not be tried; what a machine shows is in the proof. Finished is called after each machine.
func (p *Prover) Platforms(ctx context.Context, r Release, platforms []*platform.Platform, finished func(Machine)) (*Proof, error) {
	proof, err := p.begin(r)
	if err != nil {
		return nil, err
	}
	proof.Machines = make([]Machine, len(platforms))
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(p.Jobs)
	for i, platform := range platforms {
		group.Go(func() error {
			machine, err := p.nth(i, len(platforms)).platform(running, r, platform)
			if err != nil {
				return fmt.Errorf("platform %s: %w", platform.ID.Value, err)
			}
			proof.Machines[i] = machine
			finished(machine)
			return nil
		})
	}
	return proof, group.Wait()
}

// nth returns what proves one of several platforms, which begin in their order. Those that run at a time share the host's processors;
// the last one is soon alone with them.
func (p *Prover) nth(i, all int) *Prover {
	if p.Jobs == 1 || i == all-1 {
		return p
	}
	sharing := *p
	sharing.Accel = p.Accel.Shared()
	return &sharing
}

// begin notes what will be booted.
func (p *Prover) begin(r Release) (*Proof, error) {
	proof := &Proof{
		Schema: Schema, Version: r.Manifest.Version, Arch: r.Manifest.Arch, Base: r.Manifest.Base.ID,
		Booted: map[string]digest.SHA256{}, Accel: p.Accel.Name,
	}
	for _, f := range r.Manifest.Files {
		if !slices.Contains([]string{kernel, initrd, r.Manifest.Partition.File}, f.Name) {
			continue
		}
		d, _, err := digest.OfFile(r.path(f.Name))
		if err != nil {
			return nil, err
		}
		if d != f.SHA256 {
			return nil, fmt.Errorf("%s is not what its manifest says: it has the digest %v; wanted %v", r.path(f.Name), d, f.SHA256)
		}
		proof.Booted[f.Name] = d
	}
	return proof, nil
}

func (p *Prover) platform(ctx context.Context, r Release, platform *platform.Platform) (Machine, error) {
	id := platform.ID.Value
	dir, err := os.MkdirTemp(p.Scratch, id+".")
	if err != nil {
		return Machine{}, err
	}
	defer os.RemoveAll(dir)
	e, err := Expect(r.Manifest, platform)
	if err != nil {
		return Machine{}, err
	}
	oem, err := vm.OEM(ctx, p.Tools, filepath.Join(dir, "oem.img"), OEMFiles(platform))
	if err != nil {
		return Machine{}, err
	}
	m := p.machine(r, platform, dir, disks.UsrBUUID)
	if err := vm.MakeDisk(ctx, p.Tools, m.Disk, []vm.Partition{vm.UsrB(r.path(r.Manifest.Partition.File)), oem}); err != nil {
		return Machine{}, err
	}
	result := Machine{Platform: id, Images: e.Images}
	question := e.Question()
	question.Refreshes = p.Refreshes
	report, err := vm.Boot(ctx, m, question)
	switch {
	case ctx.Err() != nil:
		return Machine{}, ctx.Err()
	case err != nil:
		result.Error = err.Error()
	default:
		result.Seconds, result.Outcomes, result.Soak = report.Seconds, e.Check(report), report.Soak
		if p.Refreshes > 0 {
			result.Outcomes = append(result.Outcomes, soakOutcomes(report.Soak)...)
		}
	}
	return p.shown(result, dir, id)
}

// shown logs what a machine has shown, since all machines together take long, and keeps the console of one that failed.
func (p *Prover) shown(m Machine, dir, name string) (Machine, error) {
	words := m.Platform
	if m.Step != "" {
		words += ", " + m.Step
	}
	p.Log.Info(words, "asserted", fmt.Sprintf("%d of %d", len(m.Outcomes)-m.Faults(), len(m.Outcomes)))
	if !m.Failed() {
		return m, nil
	}
	var err error
	m.Console, err = KeepConsole(dir, filepath.Join(p.Consoles, name+".log"))
	return m, err
}

// machine boots a release from the slot with this partition UUID, of a disk that is still to be made, in a platform's cloud.
func (p *Prover) machine(r Release, platform *platform.Platform, dir, slot string) vm.Machine {
	m := vm.Machine{
		Accel: p.Accel, Kernel: r.path(kernel), Disk: filepath.Join(dir, "disk.img"),
		Arguments: base.KernelArguments(slot, r.Manifest.Partition.RootHash), SMBIOS: Markers(platform),
		Dir: dir, Timeout: p.Timeout,
		Waiting: func(line string) { p.Log.Info(platform.ID.Value+" is still running", "console", line) },
	}
	if slices.ContainsFunc(r.Manifest.Files, func(f manifest.File) bool { return f.Name == initrd }) {
		m.Initrd = r.path(initrd)
	}
	return m
}

// KeepConsole moves the console of a machine that had a directory, if it has come to have one, and returns where it is.
func KeepConsole(dir, kept string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return "", err
	}
	err := os.Rename(filepath.Join(dir, vm.ConsoleFile), kept)
	if os.IsNotExist(err) {
		return "", nil
	}
	return kept, err
}

// OEMFiles are what an OEM partition has that says that a machine is in a platform's cloud.
func OEMFiles(p *platform.Platform) map[string]string {
	return map[string]string{"oem-release": "ID=" + p.ID.Value + "\n"}
}

// Expect returns what a release promises of a platform's machines.
func Expect(m *manifest.Manifest, p *platform.Platform) (Expectation, error) {
	at := slices.IndexFunc(m.Platforms, func(known manifest.Platform) bool { return known.ID == p.ID.Value })
	if at < 0 {
		return Expectation{}, fmt.Errorf("the release has no platform %s", p.ID.Value)
	}
	if !m.Platforms[at].Placement.Embedded() {
		return Expectation{}, fmt.Errorf("the release does not embed the images of %s", p.ID.Value)
	}
	return expect(m, p, slices.Clone(m.Platforms[at].Activates)), nil
}

// ExpectNothing returns what a release promises of machines of a platform that it has no images for: that they come up without.
func ExpectNothing(m *manifest.Manifest, p *platform.Platform) Expectation {
	e := expect(m, p, nil)
	e.Reason = "nothing linked: this release has no images for " + p.ID.Value
	e.Requires, e.Units = nil, nil
	return e
}

func expect(m *manifest.Manifest, p *platform.Platform, images []string) Expectation {
	e := Expectation{VersionID: m.Base.VersionID, Reason: "ID=" + p.ID.Value + " in /oem/oem-release", Images: images}
	e.extensions(m.Extensions, p.ID.Value)
	own := map[string]bool{}
	for _, image := range m.Images {
		if slices.Contains(e.Images, image.Name) {
			for _, content := range image.Contents {
				own[content.Path] = true
				if content.Target == "" {
					e.Files = append(e.Files, content.Path)
				}
			}
		}
	}
	foreign := map[string]bool{}
	for _, image := range m.Images {
		for _, content := range image.Contents {
			if image.Embedded != "" && !own[content.Path] && !foreign[content.Path] {
				foreign[content.Path] = true
				e.Foreign = append(e.Foreign, content.Path)
			}
		}
	}
	for _, x := range m.Extensions {
		for _, content := range x.Contents { // which no other platform has to itself
			own[content.Path] = true
		}
	}
	e.Foreign = slices.DeleteFunc(e.Foreign, func(path string) bool { return own[path] })
	for _, unit := range p.ActiveUnits {
		e.Units = append(e.Units, unit.Value)
	}
	for _, recipe := range p.Recipes {
		for _, path := range recipe.Requires {
			e.Requires = append(e.Requires, string(path))
		}
	}
	return e
}

// extensions adds what a platform's machines have of the extensions when their users say nothing.
func (e *Expectation) extensions(all []manifest.Extension, platform string) {
	e.Lying = map[string]string{}
	for _, x := range all {
		versions := slices.ContainsFunc(all, func(o manifest.Extension) bool { return o.Name == x.Name && o.Version != x.Version })
		switch {
		case x.Embedded == "":
			e.Flattened = append(e.Flattened, x.Name)
		case versions && !x.Default:
		case x.Enable == "always", slices.Contains(x.Platforms, platform):
			e.Images, e.Lying[x.Name] = append(e.Images, x.Name), x.Embedded
		}
	}
}
