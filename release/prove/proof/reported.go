package proof

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/ship"
	"github.com/flatcar/oem-sysext/release/ship/report"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

// read returns what was proven of the release in a directory, for its report.
func read(dir string) ([]report.Proof, error) {
	var proofs []report.Proof
	for _, kind := range verify.Proofs {
		content, err := os.ReadFile(filepath.Join(dir, kind.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p, err := Decode(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind.Name, err)
		}
		proofs = append(proofs, Reported(kind.Title, p))
	}
	return proofs, nil
}

// Reported is a proof as reports have it.
func Reported(title string, p *Proof) report.Proof {
	shown := report.Proof{Title: title, Base: p.Base + " " + p.Version, Accel: p.Accel}
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
		shown.Machines = append(shown.Machines, proven)
	}
	return shown
}

// WriteMarkdown writes as Markdown what was proven of the release in a directory.
func WriteMarkdown(out io.Writer, dir string) error {
	proofs, err := read(dir)
	if err != nil {
		return err
	}
	return report.ProofsMarkdown(out, proofs)
}

// Write writes a proof beside the files that it is about, and into their report, and the digests of both into their sums.
func Write(dir, name string, p *Proof) error {
	encoded, err := p.Encode()
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(dir, name), 0o644, encoded); err != nil {
		return err
	}
	if err := ship.AddSum(dir, name, digest.Of(encoded)); err != nil {
		return err
	}
	proofs, err := read(dir)
	if err != nil {
		return err
	}
	page, err := ReportWith(dir, proofs)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(dir, manifest.ReportFile), 0o644, page); err != nil {
		return err
	}
	return ship.AddSum(dir, manifest.ReportFile, digest.Of(page))
}

// ReportWith returns the report of the release in a directory with these proofs.
func ReportWith(dir string, proofs []report.Proof) ([]byte, error) {
	page, err := os.ReadFile(filepath.Join(dir, manifest.ReportFile))
	if err != nil {
		return nil, err
	}
	if page, err = report.WithProofs(page, proofs); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, manifest.ReportFile), err)
	}
	return page, nil
}
