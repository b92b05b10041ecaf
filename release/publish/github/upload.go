package github

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	gh "github.com/google/go-github/v57/github"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/publish/forge"
)

// Upload uploads a file, and tries again when that fails in a way that may pass.
func (p *Repository) Upload(ctx context.Context, to *forge.Posted, dir string, f manifest.File) error {
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
func (p *Repository) clear(ctx context.Context, to *forge.Posted, f manifest.File) (arrived bool, err error) {
	has, err := p.Assets(ctx, to)
	if err != nil {
		return false, err
	}
	for _, a := range has {
		if a.Name != f.Name {
			continue
		}
		if !a.Whole {
			return false, p.Delete(ctx, a)
		}
		same, err := p.Same(ctx, a, f)
		if err == nil && !same {
			err = errors.New("somebody else uploads other content to the same draft; wanted one run at a time")
		}
		return same, err
	}
	return false, nil
}

// upload sends a file once. It never has more of it in memory than what is on its way.
func (p *Repository) upload(ctx context.Context, to *forge.Posted, path string, f manifest.File) (*gh.Response, error) {
	address, err := p.Client.UploadURL(&release{UploadURL: &to.Uploads})
	if err != nil {
		return nil, err
	}
	file, err := open(path, f)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	ctx, cancel := context.WithCancelCause(github.Once(ctx))
	defer cancel(nil)
	bar := p.Progress.Bytes(f.Name, int64(f.Size))
	defer bar.End()
	body := &watched{file: file, limit: p.Stall, seen: bar}
	body.timer = time.AfterFunc(p.Stall, func() { cancel(fmt.Errorf("the server took nothing for %v", p.Stall)) })
	defer body.timer.Stop()
	request, err := p.Client.API().NewUploadRequest(address+"?name="+url.QueryEscape(f.Name), body, int64(f.Size), "application/octet-stream")
	if err != nil {
		return nil, err
	}
	var made asset
	response, err := p.Client.API().Do(ctx, request, &made)
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return response, err
}

// watched is the body of an upload that is given up when the server does not take it.
type watched struct {
	file  *os.File
	timer *time.Timer
	limit time.Duration
	seen  io.Writer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.file.Read(p)
	_, _ = w.seen.Write(p[:n]) // what is shown must not stop the work
	if err != nil {
		w.timer.Stop() // the answer has a time limit of its own
	} else {
		w.timer.Reset(w.limit)
	}
	return n, err
}

// Seek and Close make the retrying client send the body as it comes, which it would read into memory otherwise.
func (w *watched) Seek(offset int64, whence int) (int64, error) { return w.file.Seek(offset, whence) }

func (w *watched) Close() error { return nil }

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
