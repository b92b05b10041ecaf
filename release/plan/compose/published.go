package compose

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/stage"
	"github.com/flatcar/oem-sysext/release/plan/compose/extension"
	"github.com/flatcar/oem-sysext/release/plan/signed"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// Published is a platform's tools from the image that Flatcar published with the base.
type Published struct {
	oem.Staged
	Original *signed.Image // to embed byte for byte; nil where its files are packed anew
}

// Published reads the images that Flatcar published with the base for platforms, and checks that each can be in the release.
// The error has the problems of all.
func (c *Composer) Published(ctx context.Context, platforms []*platform.Platform) ([]Published, error) {
	all := make([]Published, len(platforms))
	mistakes := make([]error, len(platforms))
	step := c.bench.Progress.Items("images of Flatcar", len(platforms))
	defer step.End()
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(c.bench.Jobs)
	for i, p := range platforms {
		group.Go(func() error {
			defer step.Add(1)
			if all[i], mistakes[i] = c.published(running, p); mistakes[i] != nil {
				mistakes[i] = fmt.Errorf("%s.raw %w; its tools can come from recipes: OEM=recipes, or oem: in the profile", p.Image(), mistakes[i])
			}
			return running.Err()
		})
	}
	return all, errors.Join(append(mistakes, group.Wait())...)
}

func (c *Composer) published(ctx context.Context, p *platform.Platform) (Published, error) {
	none := Published{}
	found, err := c.base.Published(ctx, c.bench, p.Image())
	if err != nil {
		return none, err
	}
	trusted, err := c.base.Certificates()
	if err != nil {
		return none, err
	}
	read, err := c.reader.Read(ctx, found.Image.SHA256, trusted)
	if err != nil {
		return none, err
	}
	said, err := extension.ReleaseOf(read.Tree, p.Image(), c.bench.Blobs)
	if err != nil {
		return none, err
	}
	if err := said.Fits(c.os); err != nil {
		return none, err
	}
	if !found.Signed && read.RootHash.IsZero() {
		return none, fmt.Errorf("is not signed; wanted %s.raw.sig or %s.gz beside the base", p.Image(), p.Image())
	}
	asIs := c.choice.Profile.OEM.Origin(p.ID.Value) == profiles.Upstream
	if err := c.judge(ctx, p, read, asIs); err != nil {
		return none, err
	}
	made := oem.Made{Recipe: sourceOf(p), Tree: read.Tree, Inputs: []input.Input{found.Input}}
	one := Published{Staged: oem.Staged{Platform: p, Tree: read.Tree, Recipes: []oem.Made{made}}}
	if asIs {
		packed := pack.Image{SHA256: found.Image.SHA256, Size: found.Image.Size}
		one.Original = &signed.Image{Image: packed, RootHash: read.RootHash}
	}
	return one, nil
}

// judge refuses an image that would hide what is the release's, or that machines could not mount. What else the checks find is a
// remark: Flatcar made the image for this release, and signed it. What is packed anew must be what our own images are.
func (c *Composer) judge(ctx context.Context, p *platform.Platform, read extension.Image, asIs bool) error {
	problems, remarks := c.inTheWay(read.Tree), stage.Foreign(read.Tree, c.base.Target)
	if asIs {
		problems = append(problems, c.unreadable(read.Needs, "choose repacked for it")...)
	} else {
		problems, remarks = append(problems, remarks...), nil
	}
	if len(problems) > 0 {
		return errors.New("cannot be in this release:\n  " + strings.Join(problems, "\n  "))
	}
	found, err := c.checker.Tree(ctx, read.Tree)
	for _, problem := range found {
		remarks = append(remarks, problem.String())
	}
	for _, remark := range remarks {
		c.bench.Log.Warn("found in the image that Flatcar published", "image", p.Image(), "problem", remark)
	}
	return err
}

// sourceOf stands where a recipe's name does in what describes a release.
func sourceOf(p *platform.Platform) *recipe.Recipe {
	return &recipe.Recipe{Name: strictyaml.Text{Value: p.Image()}, Summary: "Flatcar's image for " + p.Name, Homepage: p.Homepage}
}
