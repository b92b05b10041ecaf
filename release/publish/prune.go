package publish

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	gh "github.com/google/go-github/v57/github"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/publish/nightly"
)

// cutArch returns the version of a tag that is of the architecture.
func cutArch(tag, architecture string) (version string, isOurs bool) {
	return strings.CutSuffix(tag, manifest.Tag("", architecture))
}

// aged is a nightly on the server.
type aged struct {
	*gh.RepositoryRelease
	arch string
	at   time.Time
}

// asNightly tells whether a release is a nightly: by its tag, and because it is for nobody but those who try it.
func asNightly(r *release) (aged, bool) {
	if !r.GetPrerelease() {
		return aged{}, false
	}
	for _, a := range []arch.Arch{arch.AMD64, arch.ARM64} {
		if version, fits := cutArch(r.GetTagName(), string(a)); fits {
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
	if err := p.mayWrite(ctx); err != nil {
		return err
	}
	list, err := p.all(ctx)
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
		return cmp.Or(strings.Compare(a.arch, b.arch), b.at.Compare(a.at), strings.Compare(a.GetTagName(), b.GetTagName()))
	})
	if !apply {
		fmt.Fprintln(out, "nothing is removed without PRUNE=1")
	}
	kept := map[string]int{}
	for _, n := range nightlies {
		stays := kept[n.arch] < keep
		if n.GetDraft() {
			stays = kept[n.arch] == 0
		} else {
			kept[n.arch]++
		}
		if stays {
			fmt.Fprintf(out, "keep    %s\n", n.GetTagName())
			continue
		}
		fmt.Fprintf(out, "remove  %s\n", n.GetTagName())
		if !apply {
			continue
		}
		if err := p.remove(ctx, n.RepositoryRelease); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "%d of %d releases are nightlies\n", len(nightlies), len(list))
	return err
}

// remove removes the tag of a release first, which makes it a draft. In the other order a run that dies in between would
// leave a tag that nothing looks for.
func (p *Publisher) remove(ctx context.Context, r *release) error {
	for _, path := range []string{"/git/refs/tags/" + url.PathEscape(r.GetTagName()), fmt.Sprintf("/releases/%d", r.GetID())} {
		_, err := p.ask(ctx, http.MethodDelete, path, nil, nil)
		// A tag that is gone already is an unprocessable reference (docs.github.com/rest/git/refs).
		if code := status(err); err != nil && code != http.StatusNotFound && code != http.StatusUnprocessableEntity {
			return fmt.Errorf("remove %s: %w", r.GetTagName(), authorize(err))
		}
	}
	return nil
}
