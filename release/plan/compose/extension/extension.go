// Package extension reads and judges extension images that others made.
//
// In goes a file, which may be anybody's: a squashfs or erofs file system, or a disk with one (a DDI); out comes what it
// holds, as a tree whose contents are blobs, and what it says of itself. File systems are read by their own programs, in a
// sandbox that has no network, no privileges, nothing of the host but the file, and one directory to write to; the host's
// kernel mounts nothing. What such a program complains of, and what it cannot make as an ordinary user (devices, other owners,
// hiding xattrs), is refused with the entry named. So is what takes more than archive.MaxBytes or archive.MaxEntries.
package extension

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/archive"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/ddi"
	"github.com/flatcar/oem-sysext/release/format/squashfs"
)

// revision goes up whenever the same file gives something else than before.
const revision = 3

// Tools are the packages of the tool root that read images.
var Tools = []string{"squashfs-tools", "erofs-utils"}

// Image is what a file turned out to be.
type Image struct {
	Tree     tree.Tree
	RootHash digest.SHA256 // that is signed; zero when the image has no signature
	Needs    []string      // options of a kernel that mounts it, without CONFIG_
}

// Reader reads images.
type Reader struct {
	Tools   *toolroot.Root
	Blobs   *store.Blobs
	Results *store.Results
	Scratch string // a directory on the blobs' file system
	Arch    arch.Arch

	most limits // archive's when zero
}

// limits are how much an image may unpack to.
type limits struct {
	entries int
	bytes   size.Bytes
}

// Read reads the image in a blob. A signed one must be signed by one of the certificates.
// What was read is kept, and taken from there the next time.
func (r *Reader) Read(ctx context.Context, blob digest.SHA256, trusted []*x509.Certificate) (Image, error) {
	var by [][]byte
	for _, certificate := range trusted {
		by = append(by, certificate.Raw)
	}
	names := func(i Image) (named []store.Blob) {
		for _, e := range i.Tree {
			if e.Type == tree.File {
				named = append(named, store.Blob{SHA256: e.SHA256, Size: e.Size})
			}
		}
		return named
	}
	inputs := []any{revision, blob, by, r.Arch, r.Tools.Versions(Tools...)}
	return store.Memo(ctx, r.Results.Step("extension", inputs), names, func() (Image, error) {
		file, err := os.Open(r.Blobs.Path(blob))
		if err != nil {
			return Image{}, err
		}
		defer file.Close()
		return r.read(ctx, file, trusted)
	})
}

// The places and values by which file systems are told apart, and how many bytes it takes to see them.
const (
	squashfsMagic = "hsqs"             // at 0: fs/squashfs/squashfs_fs.h, SQUASHFS_MAGIC
	erofsMagic    = "\xe2\xe1\xf5\xe0" // at 1024: fs/erofs/erofs_fs.h, EROFS_SUPER_MAGIC_V1
	erofsStart    = 1024
	gptMagic      = "EFI PART" // at 512: UEFI specification, 5.3.2
	gptStart      = 512
	headLength    = erofsStart + len(erofsMagic)
)

func (r *Reader) read(ctx context.Context, file *os.File, trusted []*x509.Certificate) (Image, error) {
	info, err := file.Stat()
	if err != nil {
		return Image{}, err
	}
	var image Image
	part := io.NewSectionReader(file, 0, info.Size())
	offset := int64(0)
	if head, err := headOf(part); err != nil {
		return image, err
	} else if strings.HasPrefix(head[gptStart:], gptMagic) {
		disk, err := ddi.Open(file, info.Size())
		if err != nil {
			return image, err
		}
		if disk.Arch != r.Arch {
			return image, fmt.Errorf("its partitions are for %s; wanted %s", disk.Arch, r.Arch)
		}
		if disk.Signed() {
			if err := disk.Verify(ctx, trusted); err != nil {
				return image, err
			}
			image.RootHash = disk.RootHash
		}
		part, offset = disk.Data(), disk.Offset()
	}
	head, err := headOf(part)
	if err != nil {
		return image, err
	}
	if image.Needs, err = inspect(part, head); err != nil {
		return image, err
	}
	image.Tree, err = r.unpack(ctx, file.Name(), part, head, offset)
	return image, err
}

// headOf returns the first bytes, with zeros behind the end of what is shorter.
func headOf(part *io.SectionReader) (string, error) {
	head := make([]byte, headLength)
	if _, err := part.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return string(head), nil
}

// unpack reads the file system with this head that begins at an offset of a file.
func (r *Reader) unpack(ctx context.Context, file string, part *io.SectionReader, head string, offset int64) (tree.Tree, error) {
	dir, err := os.MkdirTemp(r.Scratch, "extension.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	unpacked := filepath.Join(dir, "tree")
	// fsck.erofs sets a file's capabilities and then its owner, which takes them away again: nobody would see them. Without the right to
	// set them it fails.
	program := []string{"setpriv", "--bounding-set=-setfcap", "fsck.erofs", "-d3", "--extract=" + unpacked, "--xattrs", "--offset=" + strconv.FormatInt(offset, 10), file}
	if strings.HasPrefix(head, squashfsMagic) {
		limits := []string{"-data-queue", "64", "-frag-queue", "64", "-offset", strconv.FormatInt(offset, 10)}
		program = append([]string{"unsquashfs"}, squashfs.UnpackArgs(file, unpacked, limits...)...)
	} else if err := checkErofs(part); err != nil {
		return nil, err
	}
	if err := r.bounded(ctx, dir, program, file); err != nil {
		return nil, err
	}
	return tree.Scan(unpacked, r.keep)
}

// Limits of the programs that read file systems.
const (
	maxMemory  = 2 * size.GiB // of addresses
	maxSeconds = 300          // of a processor
)

// bounded runs a program that unpacks a file below a directory, and stops it when that becomes too much.
func (r *Reader) bounded(ctx context.Context, dir string, program []string, file string) error {
	var said bytes.Buffer
	most := r.most
	if most == (limits{}) {
		most = limits{archive.MaxEntries, archive.MaxBytes}
	}
	group, running := errgroup.WithContext(ctx)
	done := make(chan struct{})
	group.Go(func() error {
		defer close(done)
		prlimit := []string{
			fmt.Sprintf("--fsize=%d", most.bytes), fmt.Sprintf("--as=%d", maxMemory), fmt.Sprintf("--cpu=%d", maxSeconds), "--core=0", "--",
			"sh", "-c", `"$@" 2>&1`, "sh",
		}
		err := r.Tools.Run(running, toolroot.Cmd{
			Program: "prlimit", Args: append(prlimit, program...), Read: []string{file}, Write: []string{dir}, Stdout: &limited{&said, 64 << 10},
		})
		// fsck.erofs goes on after a wrong checksum, and after a file that it cannot give its owner.
		if err == nil && !strings.Contains(said.String(), "<E>") && !strings.Contains(said.String(), "<W>") {
			return nil
		}
		if running.Err() != nil {
			return context.Cause(running)
		}
		return r.explain(running, failure{reader(program), file, dir, said.String(), err})
	})
	group.Go(func() error { return most.watch(running, dir, done) })
	return group.Wait()
}

// reader is the program that reads the image.
func reader(program []string) string {
	if program[0] == "setpriv" {
		return program[2]
	}
	return program[0]
}

// watch looks at what grows below a directory until it is done.
func (l limits) watch(ctx context.Context, dir string, done <-chan struct{}) error {
	for {
		select {
		case <-done:
			return l.within(dir)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(300 * time.Millisecond):
			if err := l.within(dir); err != nil {
				return err
			}
		}
	}
}

// within refuses a directory with too much below it. Holes count, since whoever reads the files has to get past them.
func (l limits) within(dir string) error {
	entries, used := 0, int64(0)
	return filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it is being written
		}
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil {
			used += info.Size()
		}
		if entries++; entries > l.entries {
			return fmt.Errorf("unpacks to more than %d entries", l.entries)
		}
		if used > int64(l.bytes) {
			return fmt.Errorf("unpacks to more than %v", l.bytes)
		}
		return nil
	})
}

// nid is how fsck.erofs names an entry.
var nid = regexp.MustCompile(`nid ([0-9]+)`)

// failure is what a program says that could not unpack a file below a directory.
type failure struct {
	program, file, dir, said string
	err                      error
}

// explain says why an image could not be read, in the words of the program that reads it.
func (r *Reader) explain(ctx context.Context, f failure) error {
	said := strings.ReplaceAll(f.said, filepath.Join(f.dir, "tree"), "")
	if number := nid.FindStringSubmatch(said); number != nil && f.program == "fsck.erofs" {
		if name := r.nameOf(ctx, f.file, number[1]); name != "" {
			said = strings.ReplaceAll(said, number[0], name)
		}
	}
	said = strings.Map(func(c rune) rune {
		if c != '\n' && unicode.IsControl(c) {
			return '?'
		}
		return c
	}, strings.TrimSpace(said))
	lines := slices.DeleteFunc(strings.Split(said, "\n"), func(line string) bool { return strings.HasPrefix(line, "<I>") })
	const most = 8
	if said == "" || len(lines) > most {
		lines = append(lines[:min(len(lines), most)], fmt.Sprint(f.err))
	}
	return fmt.Errorf("%s cannot read it: %s", f.program, strings.Join(lines, "; "))
}

// nameOf returns the path of an erofs inode, if it can be told.
func (r *Reader) nameOf(ctx context.Context, file, number string) string {
	var said bytes.Buffer
	err := r.Tools.Run(ctx, toolroot.Cmd{
		Program: "dump.erofs", Args: []string{"--nid=" + number, file}, Read: []string{file}, Stdout: &limited{&said, 64 << 10},
	})
	if err != nil {
		return ""
	}
	for line := range strings.Lines(said.String()) {
		if name, found := strings.CutPrefix(line, "Path :"); found {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

// keep moves what was unpacked into the blobs. What has several names stays where it is, for the next one.
func (r *Reader) keep(content io.Reader) (digest.SHA256, int64, error) {
	if file, isFile := content.(*os.File); isFile {
		info, err := file.Stat()
		if err != nil {
			return digest.SHA256{}, 0, err
		}
		if info.Sys().(*syscall.Stat_t).Nlink == 1 {
			return r.Blobs.AddFile(file.Name())
		}
	}
	return r.Blobs.Add(content)
}

// limited keeps the first bytes that are written.
type limited struct {
	out  *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	l.out.Write(p[:n])
	return len(p), nil
}
