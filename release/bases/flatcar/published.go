package flatcar

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/store"
)

// Published is a file that was published with a release.
type Published struct {
	Path   string
	SHA256 digest.SHA256
	Signed bool // with the key that releases are signed with
}

// Published returns a file from the place that a release came from, which is signed if it was downloaded. The error is fetch.ErrNotFound when there is none.
func (o Options) Published(ctx context.Context, r Reference, version, name string) (Published, error) {
	f, err := o.published(ctx, r, version, name)
	return Published{f.path, f.digest, f.signed}, err
}

func (o Options) published(ctx context.Context, r Reference, version, name string) (found, error) {
	switch {
	case r.File != "":
		f, err := o.local(filepath.Join(filepath.Dir(r.File), name))
		if errors.Is(err, fs.ErrNotExist) {
			return found{}, fetch.ErrNotFound
		}
		return f, err
	case r.URL != "":
		address, err := beside(r.URL, name)
		if err != nil {
			return found{}, err
		}
		return o.download(ctx, address)
	}
	channel, _, err := r.channel()
	if err != nil {
		return found{}, err
	}
	return o.download(ctx, o.board(channel)+version+"/"+name)
}

// board is the address above the versions of a channel.
func (o Options) board(channel string) string {
	return strings.ReplaceAll(o.Servers, "CHANNEL", channel) + "/" + string(o.Arch) + "-usr/"
}

// Payload returns a file of a release whose proof is in it, from beside a local release or from the servers of updates.
// proven checks it; key identifies the proof. The error is fetch.ErrNotFound when there is no such file.
func (o Options) Payload(ctx context.Context, r Reference, version, name string, key any, proven func(path string) error) (Published, error) {
	if r.File != "" {
		path := filepath.Join(filepath.Dir(r.File), name)
		d, _, err := digest.OfFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return Published{}, fetch.ErrNotFound
		}
		if err != nil {
			return Published{}, err
		}
		return Published{path, d, true}, proven(path)
	}
	address := o.Updates + "/" + string(o.Arch) + "-usr/" + version + "/" + name
	stored := func(s fetch.Seen) bool { _, err := os.Stat(s.Path); return err == nil }
	seen, err := store.Local(o.Results.Step("payload", []any{address, key}), stored, func() (fetch.Seen, error) {
		return o.Store.Learn(ctx, fetch.Unpinned{URLs: []string{address}, Max: maxDownload, Also: proven})
	})
	if err != nil {
		return Published{}, err
	}
	path, err := o.Store.File(ctx, fetch.Want{URLs: []string{address}, SHA256: seen.SHA256, Size: seen.Size})
	return Published{path, seen.SHA256, true}, err
}
