package publish

import (
	"bytes"
	"context"
	"fmt"

	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/publish/forge"
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

// Previous returns the tag of the newest release before another one, of the same architecture: a pre-release too, where that is for
// one. It is empty when there is none.
func (p *Publisher) Previous(ctx context.Context, tag, arch string, prerelease bool) (string, error) {
	list, err := p.Forge.Releases(ctx)
	if err != nil {
		return "", err
	}
	var newest *forge.Posted
	for _, r := range list {
		_, isOurs := cutArch(r.Tag, arch)
		if r.Draft || r.Prerelease && !prerelease || r.Tag == tag || !isOurs {
			continue
		}
		if newest == nil || r.Created.After(newest.Created) {
			newest = r
		}
	}
	if newest == nil {
		return "", nil
	}
	return newest.Tag, nil
}
