package prove

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/release/ship/report"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

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

// WriteMarkdown writes as Markdown what was proven of the release in a directory.
func WriteMarkdown(out io.Writer, dir string) error {
	proofs, err := readProofs(dir)
	if err != nil {
		return err
	}
	return report.ProofsMarkdown(out, proofs)
}
