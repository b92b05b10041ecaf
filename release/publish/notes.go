package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove"
	"github.com/flatcar/oem-sysext/release/publish"
	"github.com/flatcar/oem-sysext/release/ship/report"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

// notes returns what a release is published with: its figures, what changed since the release that GitHub has before it, and what
// was proven. A release before it that cannot be read is warned of, and the notes do without.
func (o Options) notes(ctx context.Context, p *publish.Publisher, m *manifest.Manifest, prerelease bool) (string, error) {
	before, err := previousOn(ctx, p, m, prerelease)
	if err != nil {
		o.Log.Warn("the notes do not say what changed", "error", err)
	}
	var text bytes.Buffer
	if err := report.Markdown(&text, m, before); err != nil {
		return "", err
	}
	if err := writeProofs(&text, o.Dir()); err != nil {
		return "", err
	}
	return text.String(), nil
}

func previousOn(ctx context.Context, p *publish.Publisher, m *manifest.Manifest, prerelease bool) ([]*manifest.Manifest, error) {
	tag, err := p.Previous(ctx, publish.Tag(m.Version, m.Arch), m.Arch, prerelease)
	if err != nil || tag == "" {
		return nil, err
	}
	source, err := p.Source(ctx, tag)
	if err != nil {
		return nil, err
	}
	before, err := readManifest(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", tag, err)
	}
	return []*manifest.Manifest{before}, nil
}

// readProofs returns what was proven of the release in a directory, for its report.
func readProofs(dir string) ([]report.Proof, error) {
	var proofs []report.Proof
	for _, kind := range verify.Proofs {
		content, err := os.ReadFile(filepath.Join(dir, kind.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p, err := prove.Decode(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind.Name, err)
		}
		proofs = append(proofs, reported(kind.Title, p))
	}
	return proofs, nil
}

func reported(title string, p *prove.Proof) report.Proof {
	proof := report.Proof{Title: title, Base: p.Base + " " + p.Version, Accel: p.Accel}
	for _, m := range p.Machines {
		proven := report.Proven{
			Platform: m.Platform, Step: m.Step, Images: len(m.Images), Seconds: m.Seconds,
			Held: len(m.Outcomes) - m.Faults(), Asserted: len(m.Outcomes),
		}
		if m.Error != "" {
			proven.Wrong = append(proven.Wrong, report.Objection{Says: m.Error})
		}
		for _, o := range m.Outcomes {
			if o.Error != "" {
				proven.Wrong = append(proven.Wrong, report.Objection{Assertion: o.Assertion, Says: o.Error})
			}
		}
		proof.Machines = append(proof.Machines, proven)
	}
	return proof
}

// writeProofs writes as Markdown what was proven of the release in a directory.
func writeProofs(out io.Writer, dir string) error {
	proofs, err := readProofs(dir)
	if err != nil {
		return err
	}
	return report.ProofsMarkdown(out, proofs)
}
