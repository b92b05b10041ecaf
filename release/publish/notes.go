package publish

import (
	"bytes"
	"context"
	"fmt"

	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship/report"
)

// notes returns what a release is published with: its figures, what changed since the release that GitHub has before it, and what
// was proven. A release before it that cannot be read is warned of, and the notes do without.
func notes(ctx context.Context, o setup.Options, p *Publisher, m *manifest.Manifest, prerelease bool) (string, error) {
	before, err := previousOn(ctx, p, m, prerelease)
	if err != nil {
		o.Log.Warn("the notes do not say what changed", "error", err)
	}
	var text bytes.Buffer
	if err := report.Markdown(&text, m, before); err != nil {
		return "", err
	}
	if err := proof.WriteMarkdown(&text, o.Dir()); err != nil {
		return "", err
	}
	return text.String(), nil
}

func previousOn(ctx context.Context, p *Publisher, m *manifest.Manifest, prerelease bool) ([]*manifest.Manifest, error) {
	tag, err := p.Previous(ctx, m.Tag(), m.Arch, prerelease)
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
