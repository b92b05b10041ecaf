package release

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// partition is a USR partition image in the blob store.
type partition struct {
	SHA256 digest.SHA256
	Size   int64
	Free   size.Bytes // what its file system has left
	Verity verityData // zero as long as it is not hashed
}

type verityData struct {
	RootHash digest.SHA256
	Salt     string // hexadecimal
	UUID     string
}

func (p partition) blobs() []store.Blob { return []store.Blob{{SHA256: p.SHA256, Size: p.Size}} }

// btrfsTools make the empty file system.
var btrfsTools = []string{"btrfs-progs"}

// compressor is the module whose version decides the compressed bytes in the file system.
const compressor = "github.com/klauspost/compress"

// compressorVersion returns the version of the compressor that this program was built with.
func compressorVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dependency := range info.Deps {
		if dependency.Path == compressor {
			return dependency.Version
		}
	}
	return ""
}

// format makes the partition of the base, without images.
func (w *workshop) format(ctx context.Context) (partition, error) {
	if w.base.Image != "" {
		return w.strip(ctx)
	}
	inputs := []any{w.cacheName(w.base.Usr), w.Epoch.Unix(), w.tools.Versions(btrfsTools...), compressorVersion()}
	return store.Memo(ctx, w.results, "format", inputs, partition.blobs, func() (partition, error) {
		id := digest.Of([]byte("file system of " + w.base.ID + " " + w.base.Version + " " + w.base.Arch))
		return w.makePartition(ctx, func(path string) error {
			return w.timed("file system of the base", func() error {
				return btrfs.Format(ctx, w.tools, path, btrfs.Options{
					Source:     w.base.Usr,
					UUID:       btrfs.UUID(id[:16]),
					Filesystem: btrfs.FlatcarFilesystem,
					Partition:  btrfs.FlatcarPartition,
					Epoch:      w.Epoch,
				})
			})
		})
	})
}

// strip makes the partition that the base came as what it is without images of ours.
func (w *workshop) strip(ctx context.Context) (partition, error) {
	// The directory's name has the digest of the file that the base came in.
	paths := []string{certificateFile}
	for _, e := range w.target.Usr {
		if name := strings.TrimPrefix(e.Path, "/usr/"); strings.HasPrefix(name, certificatePrefix+"-") {
			paths = append(paths, name)
		}
	}
	paths = slices.Concat(paths, activate.Paths(), w.updatePaths())
	inputs := []any{w.cacheName(w.base.Image), paths, w.Epoch.Unix(), compressorVersion()}
	return store.Memo(ctx, w.results, "pristine", inputs, partition.blobs, func() (partition, error) {
		return w.makePartition(ctx, func(path string) error {
			return w.timed("partition of the base", func() error { return embed.Strip(ctx, w.base.Image, path, paths, w.Epoch) })
		})
	})
}

// embed puts the images, and what makes a machine use them, into a partition and hashes it.
func (w *workshop) embed(ctx context.Context, empty partition, images []image) (partition, error) {
	return w.embedWith(ctx, empty, images, w.early)
}

// embedWith is embed with other files for the second stage of the initramfs.
func (w *workshop) embedWith(ctx context.Context, empty partition, images []image, early []embed.File) (partition, error) {
	content := embed.Content{Files: append(activate.System(w.activation(images), w.choices()), w.certificates("")...)}
	update, err := w.updateFiles()
	if err != nil {
		return partition{}, err
	}
	secondStage, err := w.secondStage(ctx, empty, early)
	if err != nil {
		return partition{}, err
	}
	content.Files = slices.Concat(content.Files, update, secondStage.files())
	for _, image := range images {
		if image.Placement.Embedded() {
			content.Images = append(content.Images, embed.Image{Name: image.file(), SHA256: image.SHA256, Size: image.Size})
		}
	}
	for _, x := range w.extensions {
		if !x.Flatten {
			content.Images = append(content.Images, embed.Image{Name: x.File, SHA256: x.SHA256, Size: x.Size})
		}
	}
	inputs := []any{empty.SHA256, content, w.Epoch.Unix(), compressorVersion()}
	return store.Memo(ctx, w.results, "embed", inputs, partition.blobs, func() (partition, error) {
		seed, err := digest.OfInputs(inputs)
		if err != nil {
			return partition{}, err
		}
		var hashed verityData
		made, err := w.makePartition(ctx, func(path string) error {
			err := w.timed("embedding", func() error {
				return content.Into(ctx, w.blobs.Path(empty.SHA256), path, w.blobs, w.Epoch)
			})
			if err != nil {
				return err
			}
			hashed, err = w.seal(ctx, path, seed)
			return err
		})
		made.Verity = hashed
		return made, err
	})
}

// bootengine is an initramfs that lies in /usr; zero when there is none.
type bootengine struct {
	SHA256 digest.SHA256
	Size   int64
	Grown  size.Bytes // over the base's own
}

func (s bootengine) blobs() []store.Blob {
	if s == (bootengine{}) {
		return nil
	}
	return []store.Blob{{SHA256: s.SHA256, Size: s.Size}}
}

// files are those of the partition.
func (s bootengine) files() []embed.File {
	if s == (bootengine{}) {
		return nil
	}
	return append(activate.SystemAfterInitrd(), embed.File{Path: activate.SecondStage, Mode: 0o644, Blob: s.SHA256})
}

// secondStage returns the initramfs in the partition with the activation in it, and what platforms have there.
func (w *workshop) secondStage(ctx context.Context, empty partition, early []embed.File) (bootengine, error) {
	added := slices.Concat(activate.Initrd(), w.certificates("usr/"), early)
	inputs := []any{empty.SHA256, added, w.Epoch.Unix(), w.tools.Versions(activate.Tools...)}
	return store.Memo(ctx, w.results, "second-stage", inputs, bootengine.blobs, func() (s bootengine, err error) {
		dir, err := os.MkdirTemp(w.scratch.Dir, "stage.")
		if err != nil {
			return s, err
		}
		defer os.RemoveAll(dir)
		from, to := filepath.Join(dir, "from.img"), filepath.Join(dir, "to.img")
		found, err := copyOut(ctx, w.blobs.Path(empty.SHA256), activate.SecondStage, from)
		if err != nil || !found {
			return s, err
		}
		if err := activate.Add(ctx, w.tools, from, to, dir, added, w.blobs.Path, w.Epoch); err != nil {
			return s, fmt.Errorf("/usr/%s of the base: %w", activate.SecondStage, err)
		}
		before, err := os.Stat(from)
		if err != nil {
			return s, err
		}
		s.SHA256, s.Size, err = w.blobs.AddFile(to)
		s.Grown = size.Bytes(s.Size - before.Size())
		return s, err
	})
}

// copyOut copies a file of a partition, if it has it.
func copyOut(ctx context.Context, partition, name, to string) (found bool, err error) {
	err = btrfs.View(ctx, partition, func(mounted string) error {
		root, err := os.OpenRoot(mounted)
		if err != nil {
			return err
		}
		defer root.Close()
		in, err := root.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer in.Close()
		found = true
		return atomicfile.Write(to, 0o600, func(out io.Writer) error { _, err := io.Copy(out, in); return err })
	})
	return found, err
}

// activation says of each platform there is, also of those that are not in this release, which images make it up.
// Machines are recognised by the markers of all of them, so that leaving one out does not turn its machines into another one's.
func (w *workshop) activation(images []image) []activate.Platform {
	platforms := make([]activate.Platform, len(w.catalogue))
	for i, p := range w.catalogue {
		platforms[i].Candidate = p.Candidate()
		if platform.ByKernelID(w.catalogue, p.KernelID.Value) == p {
			platforms[i].KernelID = p.KernelID.Value
		}
		for _, image := range images {
			switch {
			case !image.Placement.Embedded() || !slices.Contains(image.Platforms, p.ID.Value):
			case image.Name == p.Image():
				platforms[i].Images = slices.Insert(platforms[i].Images, 0, image.Name)
			default:
				platforms[i].Images = append(platforms[i].Images, image.Name)
			}
		}
	}
	return platforms
}

func (w *workshop) seal(ctx context.Context, path string, seed digest.SHA256) (verityData, error) {
	step := w.Progress.Bytes("hashing", int64(btrfs.FlatcarFilesystem))
	defer step.End()
	root, params, err := embed.Seal(ctx, path, seed, step)
	return verityData{root, hex.EncodeToString(params.Salt), btrfs.UUID(params.UUID).String()}, err
}

// makePartition keeps what write leaves at the path that it is given.
func (w *workshop) makePartition(ctx context.Context, write func(path string) error) (partition, error) {
	dir, err := os.MkdirTemp(w.scratch.Dir, "partition.")
	if err != nil {
		return partition{}, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "usr.bin")
	if err := write(path); err != nil {
		return partition{}, err
	}
	free, err := btrfs.Free(ctx, path)
	if err != nil {
		return partition{}, err
	}
	d, n, err := w.blobs.AddFile(path)
	return partition{SHA256: d, Size: n, Free: free}, err
}
