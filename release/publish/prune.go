package publish

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/publish/forge"
	"github.com/flatcar/oem-sysext/release/publish/nightly"
)

// cutArch returns the version of a tag that is of the architecture.
func cutArch(tag, architecture string) (version string, isOurs bool) {
	return strings.CutSuffix(tag, manifest.Tag("", architecture))
}

// aged is a nightly on the server.
type aged struct {
	*forge.Posted
	arch string
	at   time.Time
}

// asNightly tells whether a release is a nightly: by its tag, and because it is for nobody but those who try it.
func asNightly(r *forge.Posted) (aged, bool) {
	if !r.Prerelease {
		return aged{}, false
	}
	for _, a := range arch.All {
		if version, fits := cutArch(r.Tag, string(a)); fits {
			at, isNightly := nightly.Time(version)
			return aged{r, string(a), at}, isNightly
		}
	}
	return aged{}, false
}

// Prune removes all nightlies, and their tags, but the newest ones of each architecture, of which it keeps so many. A draft of a
// nightly goes when a newer one is published: the run that made it died. What is no pre-release with the tag of a nightly stays.
// Without apply it only writes to out what it would do.
func (p *Publisher) Prune(ctx context.Context, keep int, apply bool, out io.Writer) error {
	if keep < 1 {
		return fmt.Errorf("%d nightlies are to be kept; wanted at least 1", keep)
	}
	if err := p.Forge.MayWrite(ctx); err != nil {
		return err
	}
	list, err := p.Forge.Releases(ctx)
	if err != nil {
		return err
	}
	var nightlies []aged
	for _, r := range list {
		if n, isNightly := asNightly(r); isNightly {
			nightlies = append(nightlies, n)
		}
	}
	slices.SortFunc(nightlies, func(a, b aged) int {
		return cmp.Or(strings.Compare(a.arch, b.arch), b.at.Compare(a.at), strings.Compare(a.Tag, b.Tag))
	})
	if !apply {
		fmt.Fprintln(out, "nothing is removed without PRUNE=1")
	}
	kept := map[string]int{}
	for _, n := range nightlies {
		stays := kept[n.arch] < keep
		if n.Draft {
			stays = kept[n.arch] == 0
		} else {
			kept[n.arch]++
		}
		if stays {
			fmt.Fprintf(out, "keep    %s\n", n.Tag)
			continue
		}
		fmt.Fprintf(out, "remove  %s\n", n.Tag)
		if !apply {
			continue
		}
		if err := p.Forge.Remove(ctx, n.Posted); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "%d of %d releases are nightlies\n", len(nightlies), len(list))
	return err
}
