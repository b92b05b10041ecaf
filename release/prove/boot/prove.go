// Package boot boots a release in a virtual machine of one cloud and asserts what it promises there.
//
// In go a release and the definition of a platform; out comes what the machine showed. Machines have the markers and the OEM
// partition of their cloud, dm-verity below /usr, and no network. Refused are platforms that the release does not embed.
package boot

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/vm"
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
	Watch    func(line string) // called with what happens in a story, and with each line on a console; may be nil

	Refreshes int // of what is merged, in machines of Platforms; in tens, and none mostly
}

// Platforms proves that each of the platforms finds its tools in a release: booted from slot B, chosen by the OEM partition.
// An error says that it could not be tried; what a machine shows is in the proof. Finished is called after each machine.
func (p *Prover) Platforms(ctx context.Context, r proof.Release, platforms []*platform.Platform, finished func(proof.Machine)) (*proof.Proof, error) {
	proven, err := proof.Begin(r, p.Accel.Name)
	if err != nil {
		return nil, err
	}
	proven.Machines = make([]proof.Machine, len(platforms))
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(p.Jobs)
	for i, platform := range platforms {
		group.Go(func() error {
			machine, err := p.Nth(i, len(platforms)).platform(running, r, platform)
			if err != nil {
				return fmt.Errorf("platform %s: %w", platform.ID.Value, err)
			}
			proven.Machines[i] = machine
			finished(machine)
			return nil
		})
	}
	return proven, group.Wait()
}

// Nth returns what proves one of several platforms, which begin in their order. Those that run at a time share the host's processors;
// the last one is soon alone with them.
func (p *Prover) Nth(i, all int) *Prover {
	if p.Jobs == 1 || i == all-1 {
		return p
	}
	sharing := *p
	sharing.Accel = p.Accel.Shared()
	return &sharing
}

func (p *Prover) platform(ctx context.Context, r proof.Release, platform *platform.Platform) (proof.Machine, error) {
	id := platform.ID.Value
	dir, err := os.MkdirTemp(p.Scratch, id+".")
	if err != nil {
		return proof.Machine{}, err
	}
	defer os.RemoveAll(dir)
	e, err := Expect(r.Manifest, platform)
	if err != nil {
		return proof.Machine{}, err
	}
	oem, err := vm.OEM(ctx, p.Tools, filepath.Join(dir, "oem.img"), OEMFiles(platform))
	if err != nil {
		return proof.Machine{}, err
	}
	m := p.Machine(r, platform, dir, disks.UsrBUUID)
	if err := vm.MakeDisk(ctx, p.Tools, m.Disk, []vm.Partition{vm.UsrB(r.Path(r.Manifest.Partition.File)), oem}); err != nil {
		return proof.Machine{}, err
	}
	result := proof.Machine{Platform: id, Images: e.Images}
	question := e.Question()
	question.Refreshes = p.Refreshes
	report, err := vm.Boot(ctx, m, question)
	switch {
	case ctx.Err() != nil:
		return proof.Machine{}, ctx.Err()
	case err != nil:
		result.Error = err.Error()
	default:
		result.Seconds, result.Outcomes, result.Soak = report.Seconds, e.Check(report), report.Soak
		if p.Refreshes > 0 {
			result.Outcomes = append(result.Outcomes, soakOutcomes(report.Soak)...)
		}
	}
	return p.Shown(result, dir, id)
}

// Shown logs what a machine has shown, since all machines together take long, and keeps the console of one that failed.
func (p *Prover) Shown(m proof.Machine, dir, name string) (proof.Machine, error) {
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

// Machine boots a release from the slot with this partition UUID, of a disk that is still to be made, in a platform's cloud.
func (p *Prover) Machine(r proof.Release, platform *platform.Platform, dir, slot string) vm.Machine {
	m := vm.Machine{
		Accel: p.Accel, Kernel: r.Path(proof.Kernel), Disk: filepath.Join(dir, "disk.img"),
		Arguments: base.KernelArguments(slot, r.Manifest.Partition.RootHash), SMBIOS: Markers(platform),
		Dir: dir, Timeout: p.Timeout,
		Waiting: func(line string) { p.Log.Info(platform.ID.Value+" is still running", "console", line) },
	}
	if p.Watch != nil {
		m.Waiting, m.Watch = nil, func(line string) { p.Watch("    | " + line) }
	}
	if slices.ContainsFunc(r.Manifest.Files, func(f manifest.File) bool { return f.Name == proof.Initrd }) {
		m.Initrd = r.Path(proof.Initrd)
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
