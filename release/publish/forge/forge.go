// Package forge is what publishing needs of a place that keeps releases: GitHub, or another one.
//
// In go releases with their files; out comes what the place has of them. What a place refuses is up to it.
package forge

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// Release is what is to be published.
type Release struct {
	Dir        string
	Tag        string // is made on the commit unless it exists
	Commit     string // the repository's default branch when empty
	Title      string
	Notes      string // Markdown; what the forge does not take of it is left out at its end
	Prerelease bool
	Files      []manifest.File // all that is to be there
}

// Posted is a release that is there, or its draft.
type Posted struct {
	ID         int64
	Tag        string
	Address    string // for people
	Uploads    string // where it takes assets
	Draft      bool
	Prerelease bool
	Created    time.Time
}

// Asset is one file of a release that is there.
type Asset struct {
	ID     int64
	Name   string
	Whole  bool // is not what a cut upload left
	Size   int64
	Digest string // sha256:…; empty where the forge does not tell
}

// Reader reads what is there.
type Reader interface {
	// Releases returns every release of the repository, with drafts.
	Releases(ctx context.Context) ([]*Posted, error)
	Assets(ctx context.Context, of *Posted) ([]Asset, error)
	// Same tells whether an asset is a file.
	Same(ctx context.Context, a Asset, f manifest.File) (bool, error)
	// Open begins to download an asset.
	Open(ctx context.Context, a Asset) (io.ReadCloser, error)
}

// Writer makes a release. Each method does its work once, however often it asks.
type Writer interface {
	Draft(ctx context.Context, r *Release) (*Posted, error)
	Upload(ctx context.Context, to *Posted, dir string, f manifest.File) error
	// Delete removes an asset. One that is gone already is fine.
	Delete(ctx context.Context, a Asset) error
	// Publish turns the draft into a release for everybody.
	Publish(ctx context.Context, draft *Posted, r *Release) (*Posted, error)
}

// Keeper knows who may do what, and takes releases away.
type Keeper interface {
	// Check returns an error that names everything that would be refused.
	Check(r *Release) error
	// MayWrite looks whether the repository may be changed, as far as that can be told without changing it.
	MayWrite(ctx context.Context) error
	// MayRelease looks further than MayWrite, and changes nothing either.
	MayRelease(ctx context.Context, tag string) error
	// Remove removes a release and its tag.
	Remove(ctx context.Context, r *Posted) error
}

// Forge keeps the releases of one repository.
type Forge interface {
	Reader
	Writer
	Keeper
}

// Find returns the release of a tag among those of a repository, or its draft, or nil.
func Find(releases []*Posted, repository, tag string) (*Posted, error) {
	var drafts []*Posted
	for _, r := range releases {
		if r.Tag != tag {
			continue
		}
		if !r.Draft {
			return r, nil
		}
		drafts = append(drafts, r)
	}
	switch len(drafts) {
	case 0:
		return nil, nil
	case 1:
		return drafts[0], nil
	}
	return nil, fmt.Errorf("%s has %d drafts of %s; delete all but one", repository, len(drafts), tag)
}
