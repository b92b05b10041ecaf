package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/publish/forge"
)

// action is what has to happen to one name.
type action string

const (
	keep     action = "keep"
	upload   action = "upload"
	replace  action = "replace"  // the server has other content
	remove   action = "remove"   // it does not belong to the release
	leftover action = "clear"    // what a cut upload left of something that does not belong to the release
	again    action = "complete" // what a cut upload left
)

// step is the action for one name. A file is there unless it is removed, an asset unless it is only uploaded.
type step struct {
	name   string
	action action
	file   manifest.File
	has    forge.Asset
}

// plan compares what a release has with what it should have. It reads back those assets whose digest the server does not tell.
func (p *Publisher) plan(ctx context.Context, has []forge.Asset, wanted []manifest.File) ([]step, error) {
	var steps []step
	for _, f := range wanted {
		s := step{name: f.Name, action: upload, file: f}
		if at := slices.IndexFunc(has, func(a forge.Asset) bool { return a.Name == f.Name }); at >= 0 {
			s.has = has[at]
			same, err := p.Forge.Same(ctx, s.has, f)
			switch {
			case err != nil:
				return nil, err
			case same:
				s.action = keep
			case !s.has.Whole:
				s.action = again
			default:
				s.action = replace
			}
		}
		steps = append(steps, s)
	}
	for _, a := range has {
		if slices.ContainsFunc(wanted, func(f manifest.File) bool { return f.Name == a.Name }) {
			continue
		}
		s := step{name: a.Name, action: remove, has: a}
		if !a.Whole {
			s.action = leftover
		}
		steps = append(steps, s)
	}
	slices.SortFunc(steps, func(a, b step) int { return strings.Compare(a.name, b.name) })
	return steps, nil
}

// changes counts the steps that change something.
func changes(steps []step) int {
	n := 0
	for _, s := range steps {
		if s.action != keep {
			n++
		}
	}
	return n
}

// describe names the first few changes.
func describe(steps []step) string {
	const most = 5
	var shown []string
	for _, s := range steps {
		if s.action == keep {
			continue
		}
		if len(shown) == most {
			shown = append(shown, "…")
			break
		}
		shown = append(shown, string(s.action)+" "+s.name)
	}
	return strings.Join(shown, ", ")
}

// conflicts refuses to take away content from a draft unless that was asked for.
func (p *Publisher) conflicts(r *Release, steps []step) error {
	if p.Replace {
		return nil
	}
	var wrong []error
	for _, s := range steps {
		switch s.action {
		case replace:
			wrong = append(wrong, fmt.Errorf("the draft %s has another %s, of %v; wanted sha256 %v", r.Tag, s.name, size.Bytes(s.has.Size), s.file.SHA256))
		case remove:
			wrong = append(wrong, fmt.Errorf("the draft %s has %s, which is not in the release", r.Tag, s.name))
		}
	}
	if len(wrong) > 0 {
		wrong = append(wrong, errors.New("REPLACE=1 replaces and removes these"))
	}
	return errors.Join(wrong...)
}

// show writes what would be done.
func show(out io.Writer, repository string, r *Release, thereIsOne bool, steps []step) error {
	kind := "release"
	if r.Prerelease {
		kind = "pre-release"
	}
	begun := "a new draft"
	if thereIsOne {
		begun = "the draft that is there"
	}
	fmt.Fprintf(out, "%s %s of %s, from %s; nothing is changed without PUBLISH=1\n", kind, r.Tag, repository, begun)
	var total size.Bytes
	for _, s := range steps {
		fmt.Fprintf(out, "%-8s %s", s.action, s.name)
		if s.action != remove && s.action != leftover {
			fmt.Fprintf(out, "  %v", s.file.Size)
		}
		fmt.Fprintln(out)
		switch s.action {
		case upload, replace, again:
			total += s.file.Size
		}
	}
	_, err := fmt.Fprintf(out, "%v to upload\n", total)
	return err
}
