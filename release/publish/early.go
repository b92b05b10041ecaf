package publish

import (
	"context"
	"fmt"
	"net/http"
)

// MayPublish looks, before there is anything to publish, whether that will be possible: the token may write, and nothing was
// published under the tag yet. It changes nothing.
func (p *Publisher) MayPublish(ctx context.Context, tag string) error {
	if err := p.mayWrite(ctx); err != nil {
		return err
	}
	// Only classic tokens tell what they may do. Of the others it shows in a request that is for those who may write releases,
	// and that writes none (docs.github.com/rest/releases/releases, "Generate release notes content for a release").
	_, err := p.ask(ctx, http.MethodPost, "/releases/generate-notes", map[string]string{"tag_name": tag}, nil)
	switch status(err) {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return fmt.Errorf("releases of %s: %w", p.Repository, authorize(err))
	}
	there, err := p.find(ctx, tag)
	if err != nil {
		return err
	}
	if there != nil && !there.GetDraft() {
		return fmt.Errorf("%s is published already (%s); wanted another VERSION", tag, there.GetHTMLURL())
	}
	return nil
}

// Previous returns the tag of the newest release before another one, of the same architecture: a pre-release too, where that is for
// one. It is empty when there is none.
func (p *Publisher) Previous(ctx context.Context, tag, arch string, prerelease bool) (string, error) {
	list, err := p.all(ctx)
	if err != nil {
		return "", err
	}
	var newest *release
	for _, r := range list {
		_, isOurs := cutArch(r.GetTagName(), arch)
		if r.GetDraft() || r.GetPrerelease() && !prerelease || r.GetTagName() == tag || !isOurs {
			continue
		}
		if newest == nil || r.GetCreatedAt().After(newest.GetCreatedAt().Time) {
			newest = r
		}
	}
	return newest.GetTagName(), nil
}
