package publish

import (
	"context"
	"fmt"

	"github.com/flatcar/oem-sysext/release/publish/forge"
)

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
