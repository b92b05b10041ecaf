// Package publish puts a finished release on a forge such as GitHub, so that nobody ever sees half of one.
//
// In: a release directory whose files are what its SHA256SUMS says. Out: a published release with exactly these files.
// It is a draft, which only those who may write to the repository see, until every file has been uploaded and what the server
// has of it was compared with what it should be. A run that died is continued by the next one: what is there and right stays,
// the leftovers of a cut upload go.
//
// Refused are, before anything is changed: files that the forge does not take, a release that is not what its sums say, a draft with
// other content unless it may be replaced, and whatever would change a published release. One run at a time may publish a release.
package publish

import (
	"context"
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/release/publish/forge"
)

// Release is what is to be published.
type Release = forge.Release

// Publisher publishes to one repository.
type Publisher struct {
	Forge      forge.Forge
	Repository string // OWNER/NAME
	Replace    bool   // a draft's files with other content are replaced, and those that do not belong there removed
}

// find returns the release of a tag, or its draft, or nil.
func (p *Publisher) find(ctx context.Context, tag string) (*forge.Posted, error) {
	list, err := p.Forge.Releases(ctx)
	if err != nil {
		return nil, err
	}
	return forge.Find(list, p.Repository, tag)
}

// MayPublish looks, before there is anything to publish, whether that will be possible: the token may write, and nothing was
// published under the tag yet. It changes nothing.
func (p *Publisher) MayPublish(ctx context.Context, tag string) error {
	if err := p.Forge.MayWrite(ctx); err != nil {
		return err
	}
	if err := p.Forge.MayRelease(ctx, tag); err != nil {
		return err
	}
	there, err := p.find(ctx, tag)
	if err != nil {
		return err
	}
	if there != nil && !there.Draft {
		return fmt.Errorf("%s is published already (%s); wanted another VERSION", tag, there.Address)
	}
	return nil
}

// Publish publishes a release, or without apply only writes to out what it would do.
func (p *Publisher) Publish(ctx context.Context, r *Release, apply bool, out io.Writer) error {
	if err := p.Forge.Check(r); err != nil {
		return err
	}
	if err := p.Forge.MayWrite(ctx); err != nil {
		return err
	}
	there, err := p.find(ctx, r.Tag)
	if err != nil {
		return err
	}
	var has []forge.Asset
	if there != nil {
		if has, err = p.Forge.Assets(ctx, there); err != nil {
			return err
		}
	}
	steps, err := p.plan(ctx, has, r.Files)
	if err != nil {
		return err
	}
	if there != nil && !there.Draft {
		if n := changes(steps); n > 0 {
			return fmt.Errorf("%s is published and would change (%s); published releases stay as they are: make the release with another VERSION", r.Tag, describe(steps))
		}
		_, err := fmt.Fprintf(out, "%s is published already, with these %d files: %s\n", r.Tag, len(r.Files), there.Address)
		return err
	}
	if err := p.conflicts(r, steps); err != nil {
		return err
	}
	if !apply {
		return show(out, p.Repository, r, there != nil, steps)
	}
	if there == nil {
		if there, err = p.Forge.Draft(ctx, r); err != nil {
			return err
		}
	}
	for _, s := range steps {
		if err := p.do(ctx, there, r, s); err != nil {
			return fmt.Errorf("%s: %w; the draft keeps what it has, and the next run goes on from there", s.name, err)
		}
	}
	if err := p.readBack(ctx, there, r); err != nil {
		return err
	}
	published, err := p.Forge.Publish(ctx, there, r)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "published %s: %s\n", r.Tag, published.Address)
	return err
}

// readBack compares everything that the server has now with what should be there.
func (p *Publisher) readBack(ctx context.Context, to *forge.Posted, r *Release) error {
	has, err := p.Forge.Assets(ctx, to)
	if err != nil {
		return err
	}
	steps, err := p.plan(ctx, has, r.Files)
	if err != nil {
		return err
	}
	if changes(steps) > 0 {
		return fmt.Errorf("what the server has differs from what was uploaded (%s); it stays a draft: run again with REPLACE=1, and let nobody else write to it", describe(steps))
	}
	return nil
}

// do carries out one step of a plan.
func (p *Publisher) do(ctx context.Context, to *forge.Posted, r *Release, s step) error {
	switch s.action {
	case keep:
		return nil
	case remove, leftover:
		return p.Forge.Delete(ctx, s.has)
	case replace, again:
		if err := p.Forge.Delete(ctx, s.has); err != nil {
			return err
		}
	}
	return p.Forge.Upload(ctx, to, r.Dir, s.file)
}
