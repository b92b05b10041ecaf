// Package publish puts a finished release on GitHub, such that nobody ever sees half of one.
//
// In: a release directory whose files are what its SHA256SUMS says. Out: a published release with exactly these files.
// It is a draft, which only those who may write to the repository see, until every file has been uploaded and what the server
// has of it was compared with what it should be. A run that died is continued by the next one: what is there and right stays,
// the leftovers of a cut upload go.
//
// Refused are, before anything is changed: files that GitHub does not take, a release that is not what its sums say, a draft with
// other content unless it may be replaced, and whatever would change a published release. One run at a time may publish a release.
//
// The API is that of https://docs.github.com/rest/releases, and so are the limits.
package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// What GitHub takes.
const (
	maxAssets = 1000    // of a release
	maxNotes  = 125_000 // characters
)

// assetName is a name that GitHub keeps as it is. In others it puts dots.
var assetName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

// Release is what is to be published.
type Release struct {
	Dir        string
	Tag        string // is made on the commit unless it exists
	Commit     string // the repository's default branch when empty
	Title      string
	Notes      string // Markdown; what GitHub does not take of it is left out at its end
	Prerelease bool
	Files      []manifest.File // all that is to be there
}

// Check returns an error that names everything GitHub would refuse.
func (r *Release) Check() error {
	var wrong []error
	for _, f := range r.Files {
		switch {
		case f.Size > manifest.MaxPublished:
			wrong = append(wrong, fmt.Errorf("%s has %v, and GitHub takes less than 2 GiB; a release for it must not have a disk image (BASE)", f.Name, f.Size))
		case f.Size == 0:
			wrong = append(wrong, fmt.Errorf("%s is empty, which GitHub does not take", f.Name))
		case !assetName.MatchString(f.Name):
			wrong = append(wrong, fmt.Errorf("GitHub would rename %q; wanted letters, digits, dots, underscores and hyphens", f.Name))
		}
	}
	if len(r.Files) > maxAssets {
		wrong = append(wrong, fmt.Errorf("%d files; GitHub takes %d", len(r.Files), maxAssets))
	}
	return errors.Join(wrong...)
}

// notes returns what fits of the notes, whole lines.
func (r *Release) notes() string {
	const rest = "\n\n(The rest is in report.md.)\n"
	runes := []rune(r.Notes)
	if len(runes) <= maxNotes {
		return r.Notes
	}
	cut := string(runes[:maxNotes-len(rest)])
	if end := strings.LastIndexByte(cut, '\n'); end >= 0 {
		cut = cut[:end]
	}
	return cut + rest
}

// Publisher publishes to one repository.
type Publisher struct {
	Client     *github.Client
	Repository string // OWNER/NAME
	Replace    bool   // a draft's files with other content are replaced, and those that do not belong there removed
	Progress   *progress.Display
	Stall      time.Duration // how long the server may take nothing of an upload
}

// attempts is how often an upload is tried in one run.
const attempts = 6

// Publish publishes a release, or without apply only writes to out what it would do.
func (p *Publisher) Publish(ctx context.Context, r *Release, apply bool, out io.Writer) error {
	if err := r.Check(); err != nil {
		return err
	}
	if err := p.mayWrite(ctx); err != nil {
		return err
	}
	there, err := p.find(ctx, r.Tag)
	if err != nil {
		return err
	}
	var has []asset
	if there != nil {
		if has, err = p.assets(ctx, there); err != nil {
			return err
		}
	}
	steps, err := p.plan(ctx, has, r.Files)
	if err != nil {
		return err
	}
	if there != nil && !there.GetDraft() {
		if n := changes(steps); n > 0 {
			return fmt.Errorf("%s is published and would change (%s); published releases stay as they are: make the release with another VERSION", r.Tag, describe(steps))
		}
		_, err := fmt.Fprintf(out, "%s is published already, with these %d files: %s\n", r.Tag, len(r.Files), there.GetHTMLURL())
		return err
	}
	if err := p.conflicts(r, steps); err != nil {
		return err
	}
	if !apply {
		return show(out, p.Repository, r, there != nil, steps)
	}
	if there == nil {
		if there, err = p.draft(ctx, r); err != nil {
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
	published, err := p.release(ctx, there, r)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "published %s: %s\n", r.Tag, published.GetHTMLURL())
	return err
}

// readBack compares everything that the server has now with what should be there.
func (p *Publisher) readBack(ctx context.Context, to *release, r *Release) error {
	has, err := p.assets(ctx, to)
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
func (p *Publisher) do(ctx context.Context, to *release, r *Release, s step) error {
	switch s.action {
	case keep:
		return nil
	case remove, leftover:
		return p.delete(ctx, s.has)
	case replace, again:
		if err := p.delete(ctx, s.has); err != nil {
			return err
		}
	}
	return p.put(ctx, to, r.Dir, s.file)
}

// put uploads a file, and tries again when that fails in a way that may pass.
func (p *Publisher) put(ctx context.Context, to *release, dir string, f manifest.File) error {
	for attempt := range attempts {
		response, err := p.upload(ctx, to, filepath.Join(dir, f.Name), f)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || isFinal(err) || attempt == attempts-1 {
			return authorize(err)
		}
		p.Progress.Say("%s: the upload failed and is tried again: %v", f.Name, github.Explain(err))
		if waitErr := p.Client.Pause(ctx, attempt, response); waitErr != nil {
			return errors.Join(github.Explain(err), waitErr)
		}
		arrived, err := p.clear(ctx, to, f)
		if err != nil || arrived {
			return err
		}
	}
	panic("unreachable: the last attempt returns")
}

// clear looks what an upload without a good answer left behind: the whole file, if only the answer was lost, or an asset
// without content, which blocks the name until it is deleted.
func (p *Publisher) clear(ctx context.Context, to *release, f manifest.File) (arrived bool, err error) {
	has, err := p.assets(ctx, to)
	if err != nil {
		return false, err
	}
	for _, a := range has {
		if a.Name != f.Name {
			continue
		}
		if a.State != uploaded {
			return false, p.delete(ctx, a)
		}
		same, err := p.same(ctx, a, f)
		if err == nil && !same {
			err = errors.New("somebody else uploads other content to the same draft; wanted one run at a time")
		}
		return same, err
	}
	return false, nil
}

// open opens a file that is to be uploaded, which must still have the length that was verified.
func open(path string, f manifest.File) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && size.Bytes(info.Size()) != f.Size {
		err = fmt.Errorf("%s has %d B now and had %d; something changes the release while it is published", path, info.Size(), f.Size)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
