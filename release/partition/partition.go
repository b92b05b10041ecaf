// Package partition makes the USR partition of a release: it formats the base's, embeds the images and their activation, and
// hashes the result.
package partition

import (
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/partition/integrate"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Partition is a USR partition image in the blob store.
type Partition struct {
	SHA256 digest.SHA256
	Size   int64
	Free   size.Bytes // free space of its file system
	Verity Verity     // zero until it is hashed
}

// Verity is the dm-verity data of a partition.
type Verity struct {
	RootHash digest.SHA256
	Line     string // that the salt is of
	Salt     string // hexadecimal
	UUID     string
}

func (p Partition) blobs() []store.Blob { return []store.Blob{{SHA256: p.SHA256, Size: p.Size}} }

// revision is part of the cache keys. Raise it when the same content gives other bytes.
const revision = 4

// Tools are the packages of the tool root for making the empty file system.
var Tools = []string{"btrfs-progs"}

// ZstdModule is the module whose version determines the compressed bytes in the file system.
const ZstdModule = "github.com/klauspost/compress"

// ZstdVersion returns the version of ZstdModule in this program.
func ZstdVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dependency := range info.Deps {
		if dependency.Path == ZstdModule {
			return dependency.Version
		}
	}
	return ""
}

// Format makes the partition of the base, without images. updates are the ones that the release will embed.
func Format(ctx context.Context, bench *setup.Bench, b *bases.Base, updates Updates) (Partition, error) {
	if b.Image != "" {
		return strip(ctx, bench, b, updates)
	}
	inputs := []any{revision, bench.CacheName(b.Usr), b.Epoch.Unix(), bench.Tools.Versions(Tools...), ZstdVersion()}
	return store.Memo(ctx, bench.Results.Step("format", inputs), Partition.blobs, func() (Partition, error) {
		id := digest.Of([]byte("file system of " + b.Line())) // releases of one line have the same UUID in their tree blocks
		return makeImage(ctx, bench, func(path string) error {
			return bench.Timed("file system of the base", func() error {
				return btrfs.Format(ctx, bench.Tools, path, btrfs.Options{
					Source:     b.Usr,
					UUID:       btrfs.UUID(id[:16]),
					Filesystem: btrfs.FlatcarFilesystem,
					Partition:  btrfs.FlatcarPartition,
					Epoch:      b.Epoch,
				})
			})
		})
	})
}

// strip removes our images and files from the base's original partition.
func strip(ctx context.Context, bench *setup.Bench, b *bases.Base, updates Updates) (Partition, error) {
	// The directory is named after the digest of the base's original file.
	paths := []string{CertificateFile}
	for _, e := range b.Target.Usr {
		if name := strings.TrimPrefix(e.Path, "/usr/"); strings.HasPrefix(name, certificatePrefix+"-") {
			paths = append(paths, name)
		}
	}
	paths = slices.Concat(paths, activate.Paths(), []string{integrate.Hook}, updates.Paths())
	inputs := []any{revision, bench.CacheName(b.Image), paths, b.Epoch.Unix(), ZstdVersion()}
	return store.Memo(ctx, bench.Results.Step("pristine", inputs), Partition.blobs, func() (Partition, error) {
		return makeImage(ctx, bench, func(path string) error {
			return bench.Timed("partition of the base", func() error { return embed.Strip(ctx, b.Image, path, paths, b.Epoch) })
		})
	})
}

// Empty makes a partition with only the images' directory, for measuring the cost of an image.
func Empty(ctx context.Context, bench *setup.Bench) (Partition, error) {
	inputs := []any{time.Unix(0, 0), bench.Tools.Versions(Tools...), ZstdVersion()}
	return store.Memo(ctx, bench.Results.Step("empty", inputs), Partition.blobs, func() (Partition, error) {
		return makeImage(ctx, bench, func(path string) error {
			source, err := os.MkdirTemp(bench.Scratch, "empty.")
			if err != nil {
				return err
			}
			defer os.RemoveAll(source)
			if err := os.MkdirAll(filepath.Join(source, embed.Dir), 0o755); err != nil {
				return err
			}
			return btrfs.Format(ctx, bench.Tools, path, btrfs.Options{
				Source: source, Filesystem: btrfs.FlatcarFilesystem, Partition: btrfs.FlatcarPartition, Epoch: time.Unix(0, 0),
				UUID: btrfs.UUID{1},
			})
		})
	})
}

// Flatten merges content into a partition's /usr.
func Flatten(ctx context.Context, bench *setup.Bench, b *bases.Base, on Partition, content embed.Content) (Partition, error) {
	inputs := []any{revision, on.SHA256, content, b.Epoch.Unix(), ZstdVersion()}
	return store.Memo(ctx, bench.Results.Step("flatten", inputs), Partition.blobs, func() (Partition, error) {
		return makeImage(ctx, bench, func(path string) error {
			return bench.Timed("flattening", func() error {
				return content.Into(ctx, bench.Blobs.Path(on.SHA256), path, bench.Blobs, b.Epoch)
			})
		})
	})
}

// makeImage adds the partition image that write makes at the given path to the blobs.
func makeImage(ctx context.Context, bench *setup.Bench, write func(path string) error) (Partition, error) {
	dir, err := os.MkdirTemp(bench.Scratch, "partition.")
	if err != nil {
		return Partition{}, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "usr.bin")
	if err := write(path); err != nil {
		return Partition{}, err
	}
	free, err := btrfs.Free(ctx, path)
	if err != nil {
		return Partition{}, err
	}
	d, n, err := bench.Blobs.AddFile(path)
	return Partition{SHA256: d, Size: n, Free: free}, err
}
