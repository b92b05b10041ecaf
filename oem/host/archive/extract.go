package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
)

// extractor unpacks one archive.
type extractor struct {
	root    *os.Root
	opts    Options
	asRoot  bool
	entries int
	stream  meter           // the unpacked stream
	files   meter           // file contents, which exceed the stream where files have holes
	kinds   map[string]byte // types of the entries unpacked so far, by path
	left    map[string]byte // types of those left out, by name
	dirs    []*tar.Header   // set last, because writing files into them changes their metadata
}

// newExtractor returns an extractor for an archive; packed returns how many of its bytes were read so far.
func newExtractor(root *os.Root, o Options, packed func() int64) *extractor {
	if o.Path == nil {
		o.Path = func(name string) string { return name }
	}
	if o.Keep == nil {
		o.Keep = func(*tar.Header) bool { return true }
	}
	return &extractor{
		root: root, opts: o, asRoot: os.Geteuid() == 0, kinds: map[string]byte{}, left: map[string]byte{},
		stream: meter{packed: packed}, files: meter{packed: packed},
	}
}

// run unpacks all entries of a tar stream.
func (x *extractor) run(stream io.Reader) error {
	whole := NewWhole(&meteredReader{stream, &x.stream})
	reader := tar.NewReader(whole)
	for {
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		if wrong := new(headerError); errors.As(err, &wrong) {
			return &EntryError{x.opts.Name, wrong.entry, wrong.err}
		}
		if err != nil {
			return fmt.Errorf("%s: after entry %d: %w", x.opts.Name, x.entries, asCut(err))
		}
		name := header.Name // as it is in the archive
		if err := x.entry(header, reader); err != nil {
			return &EntryError{x.opts.Name, name, asCut(err)}
		}
	}
	if err := whole.Finish(); err != nil {
		return fmt.Errorf("%s: %w", x.opts.Name, asCut(err))
	}
	return x.finishDirs()
}

// asCut wraps the errors that decompressors and tar readers return for truncated input in errCut.
func asCut(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", errCut, err)
	}
	return err
}

// entry checks one entry and unpacks it if it is selected.
func (x *extractor) entry(header *tar.Header, content io.Reader) error {
	if x.entries++; x.entries > MaxEntries {
		return errEntries
	}
	if header.Typeflag == tar.TypeXGlobalHeader {
		return checkGlobal(header)
	}
	name, err := cleanName(header.Name)
	if err != nil {
		return err
	}
	if err := checkHeader(header); err != nil {
		return err
	}
	if name == "." {
		if header.Typeflag != tar.TypeDir {
			return errors.New("is the root and no directory")
		}
		return nil // the root is the caller's
	}
	header.Name = x.opts.Path(name)
	if kind, known := x.left[name]; known && (kind != tar.TypeDir || header.Typeflag != tar.TypeDir) {
		return errTwice
	}
	if !x.opts.Keep(header) {
		x.left[name] = header.Typeflag
		return nil
	}
	if kind, known := x.kinds[header.Name]; known && (kind != tar.TypeDir || header.Typeflag != tar.TypeDir) {
		return errTwice
	}
	if err := x.enter(path.Dir(header.Name)); err != nil {
		return err
	}
	if err := x.unpack(header, content); err != nil {
		return err
	}
	x.kinds[header.Name] = header.Typeflag
	return nil
}

// unpack creates the entry that the header describes.
func (x *extractor) unpack(header *tar.Header, content io.Reader) error {
	switch header.Typeflag {
	case tar.TypeDir:
		x.dirs = append(x.dirs, header)
		return x.mkdir(header.Name)
	case tar.TypeReg, tar.TypeGNUSparse:
		header.Typeflag = tar.TypeReg
		return x.file(header, content)
	case tar.TypeSymlink:
		return x.symlink(header)
	case tar.TypeLink:
		return x.hardLink(header)
	case tar.TypeChar, tar.TypeBlock:
		return errors.New("is a device; wanted files, directories and links")
	case tar.TypeFifo:
		return errors.New("is a fifo; wanted files, directories and links")
	}
	return fmt.Errorf("has the type %q; wanted a file, a directory or a link", header.Typeflag)
}

func (x *extractor) file(header *tar.Header, content io.Reader) (err error) {
	if x.files.n+header.Size > int64(MaxBytes) { // before any of it is written
		return errTooLarge
	}
	file, err := x.root.OpenFile(header.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	n, err := io.Copy(file, &meteredReader{content, &x.files})
	if err != nil {
		return err
	}
	if n != header.Size {
		return fmt.Errorf("holds %d bytes, its header says %d", n, header.Size)
	}
	return x.setMetadata(file, header)
}

func (x *extractor) symlink(header *tar.Header) error {
	if err := checkSymlink(header.Name, header.Linkname); err != nil {
		return err
	}
	if err := x.root.Symlink(header.Linkname, header.Name); err != nil {
		return err
	}
	return x.setLinkMetadata(header)
}

func (x *extractor) hardLink(header *tar.Header) error {
	target, err := cleanName(header.Linkname)
	if err != nil {
		return fmt.Errorf("links to %q: %w", header.Linkname, err)
	}
	target = x.opts.Path(target)
	if x.kinds[target] != tar.TypeReg {
		return fmt.Errorf("is a hard link to %q, which is not a regular file unpacked before it", target)
	}
	header.Typeflag = tar.TypeReg // one more name of a file, so that others may link to it
	return x.root.Link(target, header.Name)
}

// enter makes sure that dir and its parents are directories, not links to directories.
func (x *extractor) enter(dir string) error {
	if dir == "." || x.kinds[dir] == tar.TypeDir {
		return nil
	}
	if err := x.enter(path.Dir(dir)); err != nil {
		return err
	}
	return x.mkdir(dir)
}

// mkdir makes a directory unless there is one.
func (x *extractor) mkdir(name string) error {
	if err := x.root.Mkdir(name, 0o700); errors.Is(err, fs.ErrExist) {
		info, err := x.root.Lstat(name)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%q is not a directory but %v", name, info.Mode().Type())
		}
		x.kinds[name] = tar.TypeDir
		return err
	} else if err != nil {
		return err
	}
	x.kinds[name] = tar.TypeDir
	return x.root.Chmod(name, 0o755) // whatever the umask
}

// finishDirs sets the metadata of directories, the deepest first: writing into one changes its time,
// and its mode may forbid writing.
func (x *extractor) finishDirs() error {
	slices.SortStableFunc(x.dirs, func(a, b *tar.Header) int { return len(b.Name) - len(a.Name) })
	for _, header := range x.dirs {
		if err := x.finishDir(header); err != nil {
			return &EntryError{x.opts.Name, header.Name, err}
		}
	}
	return nil
}

func (x *extractor) finishDir(header *tar.Header) (err error) {
	dir, err := x.root.Open(header.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	return x.setMetadata(dir, header)
}
