package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/prove"
	"github.com/flatcar/oem-sysext/release/ship/report"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

// consolesDir is in the output directory.
const consolesDir = "consoles"

// guests is how many machines run at a time, at most.
const guests = 2

// Prove boots the release in OUTPUT/VERSION/ARCH for the platforms that are asked for, all that it embeds by default,
// and writes proof.json beside its files.
func Prove(ctx context.Context, o Options) (*prove.Proof, error) {
	proof, err := provePlatforms(ctx, o, allOf, 0)
	if err != nil {
		return nil, err
	}
	return proof, writeProof(o.Dir(), verify.ProofName, proof)
}

// ProveSoak boots the release as Prove does and refreshes what is merged again and again, in tens.
// It writes proof-soak.json beside the release's files.
func ProveSoak(ctx context.Context, o Options, refreshes int) (*prove.Proof, error) {
	if refreshes < 20 || refreshes%10 != 0 {
		return nil, fmt.Errorf("%d refreshes; wanted a multiple of ten from 20 on, since what there is is counted after each ten", refreshes)
	}
	proof, err := provePlatforms(ctx, o, allOf, refreshes)
	if err != nil {
		return nil, err
	}
	return proof, writeProof(o.Dir(), verify.SoakProofName, proof)
}

func allOf(platforms []*platform.Platform) []*platform.Platform { return platforms }

// refreshTimeout is several times what a refresh takes on a busy host without hardware virtualisation:
// one of four signed images was seen to take 14 s there.
const refreshTimeout = time.Minute

// provePlatforms proves those platforms that are chosen of those that were asked for and are embedded.
func provePlatforms(ctx context.Context, o Options, choose func([]*platform.Platform) []*platform.Platform, refreshes int) (*prove.Proof, error) {
	w, to, err := openProving(ctx, o)
	if err != nil {
		return nil, err
	}
	defer w.close()
	platforms, err := w.provable(to)
	if err != nil {
		return nil, err
	}
	platforms = choose(platforms)
	prover, err := w.prover(ctx, to, len(platforms))
	if err != nil {
		return nil, err
	}
	prover.Refreshes = refreshes
	prover.Timeout += time.Duration(refreshes) * refreshTimeout
	step := w.Progress.Items("machines", len(platforms))
	defer step.End()
	return prover.Platforms(ctx, to.Release, platforms, func(prove.Machine) { step.Add(1) })
}

// writeProof writes a proof beside the files that it is about, and into their report, and the digests of both into their sums.
func writeProof(dir, name string, p *prove.Proof) error {
	encoded, err := p.Encode()
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(dir, name), 0o644, encoded); err != nil {
		return err
	}
	if err := addSum(dir, name, digest.Of(encoded)); err != nil {
		return err
	}
	proofs, err := readProofs(dir)
	if err != nil {
		return err
	}
	page, err := reportWith(dir, proofs)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(dir, reportFile), 0o644, page); err != nil {
		return err
	}
	return addSum(dir, reportFile, digest.Of(page))
}

// reportWith returns the report of the release in a directory with these proofs.
func reportWith(dir string, proofs []report.Proof) ([]byte, error) {
	page, err := os.ReadFile(filepath.Join(dir, reportFile))
	if err != nil {
		return nil, err
	}
	if page, err = report.WithProofs(page, proofs); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, reportFile), err)
	}
	return page, nil
}

// ProveRollback updates machines from the release OUTPUT/FROM/ARCH to OUTPUT/VERSION/ARCH and back again,
// for the platforms that are asked for, all that both embed by default. It writes proof-rollback.json beside the latter's files.
func ProveRollback(ctx context.Context, o Options, from string) (*prove.Proof, error) {
	return proveStory(ctx, o, from, (*prove.Prover).Rollback, verify.RollbackProofName)
}

// ProveDowngrade installs the release OUTPUT/FROM/ARCH on machines that run OUTPUT/VERSION/ARCH, for platforms as in ProveRollback.
// It writes proof-downgrade.json beside the latter's files.
func ProveDowngrade(ctx context.Context, o Options, from string) (*prove.Proof, error) {
	return proveStory(ctx, o, from, (*prove.Prover).Downgrade, verify.DowngradeProofName)
}

// ProveTamper updates machines from the release OUTPUT/FROM/ARCH to OUTPUT/VERSION/ARCH, damages that one, and shows that
// the other one comes up, for platforms as in ProveRollback. It writes proof-tamper.json beside the latter's files.
func ProveTamper(ctx context.Context, o Options, from string) (*prove.Proof, error) {
	return proveStory(ctx, o, from, (*prove.Prover).Tamper, verify.TamperProofName)
}

func proveStory(ctx context.Context, o Options, from string, tell prove.Story, file string) (*prove.Proof, error) {
	w, to, err := openProving(ctx, o)
	if err != nil {
		return nil, err
	}
	defer w.close()
	old := o
	old.Version = from
	before, err := openInstallable(old.Dir())
	if err != nil {
		return nil, err
	}
	embedding := []prove.Installable{before, to}
	if len(o.Platforms) > 0 { // what befalls a machine whose tools the new release lacks is a story, too
		embedding = embedding[:1]
	}
	platforms, err := w.provable(embedding...)
	if err != nil {
		return nil, err
	}
	prover, err := w.prover(ctx, to, len(platforms))
	if err != nil {
		return nil, err
	}
	step := w.Progress.Items("stories", len(platforms))
	defer step.End()
	proof, err := prover.Stories(ctx, tell, before, to, platforms, func() { step.Add(1) })
	if err != nil {
		return nil, err
	}
	return proof, writeProof(to.Dir, file, proof)
}

// openProving opens the release that is chosen, and a workshop without a base.
func openProving(ctx context.Context, o Options) (*workshop, prove.Installable, error) {
	r, err := openInstallable(o.Dir())
	if err != nil {
		return nil, r, err
	}
	if _, err := reportWith(o.Dir(), nil); err != nil { // rather now than after an hour
		return nil, r, err
	}
	w, err := openCached(ctx, o)
	if err != nil {
		return nil, r, err
	}
	if err := errors.Join(w.choosePlatforms(), w.openTools(ctx)); err != nil {
		w.close()
		return nil, r, err
	}
	return w, r, nil
}

func openInstallable(dir string) (prove.Installable, error) {
	into, err := installable(dir)
	if err != nil {
		return prove.Installable{}, err
	}
	r, err := prove.Open(dir)
	return prove.Installable{Release: r, Slot: into}, err
}

// prover returns what boots a release for so many platforms.
func (w *workshop) prover(ctx context.Context, r prove.Installable, platforms int) (*prove.Prover, error) {
	accel, err := w.accelerator(ctx, r.Slot.Kernel.Path)
	w.Log.Info("booting machines", "release", r.Manifest.Version, "accelerator", accel.Name)
	return &prove.Prover{
		Tools: w.tools, Accel: accel, Scratch: w.scratch.Dir, Consoles: filepath.Join(w.Output, consolesDir, r.Manifest.Version),
		Timeout: bootTimeout, Jobs: min(guests, platforms), Log: w.Log,
	}, err
}

// provable returns those of the chosen platforms that all releases embed. One that was asked for and is not there is a mistake.
func (w *workshop) provable(releases ...prove.Installable) ([]*platform.Platform, error) {
	var platforms []*platform.Platform
	for _, p := range w.chosen {
		var err error
		for _, r := range releases {
			_, missing := prove.Expect(r.Manifest, p)
			err = errors.Join(err, missing)
		}
		if err == nil {
			platforms = append(platforms, p)
		} else if slices.Contains(w.Platforms, p.ID.Value) {
			return nil, err
		}
	}
	if len(platforms) == 0 {
		return nil, errors.New("no platform is embedded; there is nothing to prove")
	}
	return platforms, nil
}

// PrintProof writes a proof for people, with everything that speaks against the release.
func PrintProof(out io.Writer, p *prove.Proof) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "PLATFORM\tIMAGES\tBOOT\tASSERTED\t\n")
	for _, m := range p.Machines {
		asserted := fmt.Sprintf("%d of %d", len(m.Outcomes)-m.Faults(), len(m.Outcomes))
		fmt.Fprintf(table, "%s\t%d\t%.0f s\t%s\t%s\n", m.Platform, len(m.Images), m.Seconds, asserted, m.Step)
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
	_, err := fmt.Fprintln(out, "nothing speaks against the release")
	return err
}
