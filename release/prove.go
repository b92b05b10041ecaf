package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/flatcar/oem-sysext/oem/atomicfile"
	"github.com/flatcar/oem-sysext/oem/platform"
	"github.com/flatcar/oem-sysext/release/prove"
	"github.com/flatcar/oem-sysext/release/vm"
)

const (
	proofFile   = "proof.json"
	consolesDir = "consoles" // in the output directory: a release holds none
)

// guests is how many machines run at a time. Each has two processors.
const guests = 2

// Prove boots the release in OUTPUT/VERSION/ARCH for the platforms that are asked for, all that it embeds by default,
// and writes proof.json beside its files.
func Prove(ctx context.Context, o Options) (*prove.Proof, error) {
	r, err := prove.Open(o.Dir())
	if err != nil {
		return nil, fmt.Errorf("%w; scripts/mage release makes it", err)
	}
	w, err := openCached(ctx, o)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := errors.Join(w.choosePlatforms(), w.openTools(ctx)); err != nil {
		return nil, err
	}
	platforms, err := w.provable(r)
	if err != nil {
		return nil, err
	}
	accel, err := vm.Probe(ctx, filepath.Join(r.Dir, kernelFile))
	if err != nil {
		return nil, err
	}
	prover := &prove.Prover{
		Tools: w.tools, Accel: accel, Scratch: w.scratch.Dir, Consoles: filepath.Join(o.Output, consolesDir, o.Version),
		Timeout: bootTimeout, Jobs: guests,
	}
	step := w.Progress.Items("machines", len(platforms))
	defer step.End()
	w.Log.Info("booting machines", "platforms", len(platforms), "accelerator", accel.Name)
	proof, err := prover.Platforms(ctx, r, platforms, func(prove.Machine) { step.Add(1) })
	if err != nil {
		return nil, err
	}
	encoded, err := proof.Encode()
	if err != nil {
		return nil, err
	}
	return proof, atomicfile.WriteBytes(filepath.Join(r.Dir, proofFile), 0o644, encoded)
}

// provable returns those of the chosen platforms that the release embeds. One that was asked for and is not there is a mistake.
func (w *workshop) provable(r prove.Release) ([]*platform.Platform, error) {
	var platforms []*platform.Platform
	for _, p := range w.chosen {
		_, err := prove.Expect(r.Manifest, p)
		if err == nil {
			platforms = append(platforms, p)
		} else if slices.Contains(w.Platforms, p.ID.Value) {
			return nil, err
		}
	}
	if len(platforms) == 0 {
		return nil, fmt.Errorf("the release in %s embeds no platform", r.Dir)
	}
	return platforms, nil
}

// PrintProof writes a proof for people, with everything that speaks against the release.
func PrintProof(out io.Writer, p *prove.Proof) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "PLATFORM\tIMAGES\tBOOT\tASSERTED\n")
	for _, m := range p.Machines {
		asserted := fmt.Sprintf("%d of %d", len(m.Outcomes)-m.Faults(), len(m.Outcomes))
		fmt.Fprintf(table, "%s\t%d\t%.0f s\t%s\n", m.Platform, len(m.Images), m.Seconds, asserted)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, m := range p.Machines {
		if m.Error != "" {
			fmt.Fprintf(out, "%s: %s\n", m.Platform, m.Error)
		}
		for _, o := range m.Outcomes {
			if o.Error != "" {
				fmt.Fprintf(out, "%s: it is not so that %s: %s\n", m.Platform, o.Assertion, o.Error)
			}
		}
		if m.Console != "" {
			fmt.Fprintf(out, "%s: the console is in %s\n", m.Platform, m.Console)
		}
	}
	if n := p.Failed(); n > 0 {
		return fmt.Errorf("%d of %d machines failed", n, len(p.Machines))
	}
	_, err := fmt.Fprintf(out, "proven for %s\n", strings.Join(platformsOf(p), " "))
	return err
}

func platformsOf(p *prove.Proof) []string {
	ids := make([]string, len(p.Machines))
	for i, m := range p.Machines {
		ids[i] = m.Platform
	}
	return ids
}
