package publish

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/flatcar/oem-sysext/oem/upstream/github"
)

// Source is a release on the server, to be verified.
type Source struct {
	publisher *Publisher
	assets    []asset
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
	has, err := p.assets(ctx, found)
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
	at := slices.IndexFunc(s.assets, func(a asset) bool { return a.Name == name })
	if at < 0 {
		return nil, fmt.Errorf("no asset %s", name)
	}
	request, err := s.publisher.downloadRequest(s.assets[at])
	if err != nil {
		return nil, err
	}
	response, err := s.publisher.Client.API().BareDo(ctx, request)
	if err != nil {
		return nil, github.Explain(err)
	}
	return response.Body, nil
}
