package publish

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/flatcar/oem-sysext/release/publish/forge"
)

// Source is a release on the server, to be verified.
type Source struct {
	publisher *Publisher
	assets    []forge.Asset
}

// Source returns the release of a tag. A draft is seen by those who may write.
func (p *Publisher) Source(ctx context.Context, tag string) (*Source, error) {
	found, err := p.find(ctx, tag)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, fmt.Errorf("%s has no release %s", p.Repository, tag)
	}
	has, err := p.Forge.Assets(ctx, found)
	return &Source{p, has}, err
}

// Names returns the names of all assets, also of those that are not all there.
func (s *Source) Names(context.Context) ([]string, error) {
	var names []string
	for _, a := range s.assets {
		names = append(names, a.Name)
	}
	return names, nil
}

// Open begins to download an asset.
func (s *Source) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	at := slices.IndexFunc(s.assets, func(a forge.Asset) bool { return a.Name == name })
	if at < 0 {
		return nil, fmt.Errorf("no asset %s", name)
	}
	return s.publisher.Forge.Open(ctx, s.assets[at])
}
