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
	"strings"

	"github.com/flatcar/oem-sysext/release/manifest"
	"github.com/flatcar/oem-sysext/release/prove"
	"github.com/flatcar/oem-sysext/release/publish"
	"github.com/flatcar/oem-sysext/release/report"
	"github.com/flatcar/oem-sysext/release/verify"
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

// writeProofs writes as Markdown what was proven of the release in a directory.
func writeProofs(out io.Writer, dir string) error {
	for _, kind := range verify.Proofs {
		content, err := os.ReadFile(filepath.Join(dir, kind.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		p, err := prove.Decode(content)
		if err != nil {
			return fmt.Errorf("%s: %w", kind.Name, err)
		}
		fmt.Fprintf(out, "\n### %s\n\n", kind.Title)
		if err := proofTable(out, p); err != nil {
			return err
		}
	}
	return nil
}

// proofTable writes what each machine showed.
func proofTable(out io.Writer, p *prove.Proof) error {
	fmt.Fprintf(out, "%d machines of %s %s (%s), %d of them failed.\n\n| platform | images | boot | asserted | |\n| --- | ---: | ---: | ---: | --- |\n",
		len(p.Machines), report.Code(p.Base), report.Code(p.Version), p.Accel, p.Failed())
	for _, m := range p.Machines {
		var wrong []string
		if m.Error != "" {
			wrong = append(wrong, report.Code(m.Error))
		}
		for _, o := range m.Outcomes {
			if o.Error != "" {
				wrong = append(wrong, fmt.Sprintf("not so: %s: %s", o.Assertion, report.Code(o.Error)))
			}
		}
		name := report.Code(m.Platform)
		if m.Step != "" {
			name += ", " + m.Step
		}
		fmt.Fprintf(out, "| %s | %d | %.0f s | %d of %d | %s |\n",
			name, len(m.Images), m.Seconds, len(m.Outcomes)-m.Faults(), len(m.Outcomes), strings.Join(wrong, "<br>"))
	}
	_, err := fmt.Fprintln(out)
	return err
}
