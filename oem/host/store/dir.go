package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/host/archive"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

// Dir makes a directory like atomicfile.Dir: from the remote cache if another machine made it for the same key, else with fill.
// The key must contain everything that the directory depends on. Nothing is shared if r is nil.
func Dir(ctx context.Context, r *Results, path string, key digest.SHA256, fill func(temp string) error) error {
	if r == nil || r.shared == nil {
		return atomicfile.Dir(path, fill)
	}
	key = digest.Of(append([]byte("directory"), key[:]...))
	err := atomicfile.Dir(path, func(temp string) error {
		if r.unpack(ctx, key, temp) {
			return nil
		}
		if err := emptyDir(temp); err != nil { // the cached archive may have been damaged
			return err
		}
		return fill(temp)
	})
	if err != nil || !r.shared.lacks(ctx, key) {
		return err
	}
	return r.packed(ctx, key, path)
}

func emptyDir(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o755)
}

// unpack fills a directory from the remote cache, and returns whether it did.
func (r *Results) unpack(ctx context.Context, key digest.SHA256, dir string) bool {
	encoded, found := r.shared.result(ctx, key)
	var packed Blob
	if !found || json.Unmarshal(encoded, &packed) != nil || !r.shared.complete(ctx, r.blobs, []Blob{packed}) {
		return false
	}
	f, err := os.Open(r.blobs.Path(packed.SHA256))
	if err != nil {
		return false
	}
	defer f.Close()
	root, err := os.OpenRoot(dir)
	if err == nil {
		err = archive.Tar(f, root, archive.Options{Name: packed.SHA256.String()})
		root.Close()
	}
	if err != nil {
		r.shared.log.Warn("a directory in the remote cache is unusable; making it locally", "directory", filepath.Base(dir), "error", err)
	}
	return err == nil
}

// packed writes a directory to the remote cache, without device nodes: programs in a root never see those.
func (r *Results) packed(ctx context.Context, key digest.SHA256, dir string) error {
	stream, in := io.Pipe()
	group, packing := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := pack(packing, dir, in)
		in.CloseWithError(err)
		return err
	})
	var blob Blob
	group.Go(func() (err error) {
		blob.SHA256, blob.Size, err = r.blobs.Add(stream)
		return err
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("pack %s for the remote cache: %w", dir, err)
	}
	encoded, err := json.Marshal(blob)
	if err != nil {
		return err
	}
	r.shared.share(ctx, r.blobs, key, encoded, []Blob{blob})
	return nil
}

func pack(ctx context.Context, dir string, to io.Writer) error {
	compressed, err := zstd.NewWriter(to)
	if err != nil {
		return err
	}
	err = run.Run(ctx, run.Cmd{
		Program: "tar",
		Args: []string{
			"--create", "--format=pax", "--sort=name", "--numeric-owner", "--pax-option=delete=atime,delete=ctime",
			"--xattrs", "--xattrs-include=user.*", "--xattrs-include=security.capability",
			"--anchored", "--no-wildcards-match-slash", "--exclude=./*/dev/*", "--directory", dir, ".",
		},
		Env:    run.HostEnv("PATH"),
		Stdout: compressed,
	})
	return errors.Join(err, compressed.Close())
}
