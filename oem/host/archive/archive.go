// Package archive unpacks untrusted tar and zip archives.
//
// Everything is written through an [os.Root]. Archives that tools read differently are refused rather than interpreted.
// Refused are, with archive and entry named in the error:
//
//   - names that are absolute in any way but a leading "/" or "./", that have "..", are not UTF-8,
//     hold control characters, have more than [MaxName] bytes, or a part with more than [MaxPart];
//   - two entries with one name, unless both are directories, and entries below something that is not a directory
//     (a link to a directory is none);
//   - hard links to anything but a regular file that came earlier in the same archive,
//     and relative symbolic links that climb out of the root;
//   - devices, fifos, sockets and unknown types;
//   - more than [MaxEntries] entries or [MaxBytes] bytes, and, beyond the first [MaxFree] bytes,
//     more than [MaxRatio] bytes out of each byte of the archive;
//   - windows of zstd and dictionaries of xz above 128 MiB, which is memory that they would take;
//   - entries that are longer or shorter than announced, truncated archives, and bytes after the end of a tar stream;
//   - extended headers of a tar archive that no entry follows, that come twice or in two formats, and records that are empty, unknown or
//     understood in several ways; numbers with anything behind them, and times that file systems cannot store;
//   - headers that contradict themselves: content of what is no file, a target of what is no link, a mode of another type, and defaults
//     for all entries other than comments;
//   - zip archives that are encrypted, that use the same bytes for two entries or have some that are of none, whose directory differs
//     from what is before or behind an entry, with flags, versions, systems or dates that there are not, and names with a backslash or a drive.
//
// Symbolic links with an absolute target are stored unchanged; the user of the tree decides what they mean.
package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/xz"
)

// Limits for one archive. The largest real one, a kernel package, has 7 000 entries and 150 MB.
const (
	MaxEntries = 50_000
	MaxBytes   = 4 * size.GiB // of the unpacked stream, and of the files
	MaxRatio   = 500          // unpacked bytes for each packed one; text and zeros in packages stay below 100
	MaxFree    = 64 * size.MiB
	MaxName    = 1024 // bytes of a name or a link's target; Linux takes 4096 (PATH_MAX)
	MaxPart    = 255  // bytes between two slashes, as Linux has it (NAME_MAX)
)

// maxWindow is the largest window that zstd accepts by default (zstd(1), --memory).
const maxWindow = 128 << 20

// Options selects what is unpacked and names the archive.
type Options struct {
	Name string                        // for errors
	Path func(name string) string      // maps an entry's path, such as "usr/bin/x", to where it goes; also applied to hard link targets. Nil: unchanged
	Keep func(header *tar.Header) bool // selects entries; header.Name is the mapped path. Nil: all
}

// EntryError says which entry of which archive was refused.
type EntryError struct {
	Archive, Entry string
	Err            error
}

func (e *EntryError) Error() string {
	return fmt.Sprintf("%s: entry %q: %v", e.Archive, e.Entry, e.Err)
}

func (e *EntryError) Unwrap() error { return e.Err }

// Tar unpacks a tar stream, plain or compressed with gzip, xz, zstd or bzip2, into root.
//
// Modes (with set-user-ID, set-group-ID and sticky bits), modification times, the xattr security.capability
// and user xattrs are those of the archive; owners too when running as root. Directories without an entry
// get mode 0755. Existing files are never replaced; existing directories are used.
// On failure root holds a part of the archive and should be discarded.
func Tar(stream io.Reader, root *os.Root, o Options) error {
	packed := &countingReader{stream: stream}
	plain, err := Decompress(packed)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Name, err)
	}
	defer plain.Close()
	return newExtractor(root, o, packed.bytes).run(plain)
}

// Single writes a stream that is a single file, plain or compressed as Tar's may be, to name in root with mode 0755.
// Decompression bombs and truncated streams are refused.
func Single(stream io.Reader, root *os.Root, name string, o Options) (err error) {
	packed := &countingReader{stream: stream}
	plain, err := Decompress(packed)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Name, err)
	}
	defer plain.Close()
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := io.Copy(file, &meteredReader{plain, &meter{packed: packed.bytes}}); err != nil {
		return fmt.Errorf("%s: %w", o.Name, asCut(err))
	}
	return file.Chmod(0o755) // whatever the umask
}

// MagicLength is how many bytes Compression looks at.
const MagicLength = 6

// Compression returns how content that begins like this is compressed: .gz, .xz, .zst, .bz2, or empty.
func Compression(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")): // RFC 1952, 2.3.1
		return ".gz"
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")): // xz file format, 2.1.1.1
		return ".xz"
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")): // RFC 8878, 3.1.1
		return ".zst"
	case bytes.HasPrefix(head, []byte("BZh")):
		return ".bz2"
	}
	return ""
}

// Decompress recognises gzip, xz, zstd and bzip2 by their first bytes. Other input is passed through.
func Decompress(stream io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(stream, 1<<16)
	head, err := buffered.Peek(MagicLength)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch Compression(head) {
	case ".gz":
		if len(head) > 3 && head[3]&0xe0 != 0 { // RFC 1952, 2.3.1
			return nil, fmt.Errorf("gzip flags are %#x; the upper three must be zero", head[3])
		}
		return gzip.NewReader(buffered)
	case ".xz":
		plain, err := xz.NewReader(buffered)
		return io.NopCloser(plain), err
	case ".zst":
		plain, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return plain.IOReadCloser(), nil
	case ".bz2":
		return io.NopCloser(bzip2.NewReader(buffered)), nil
	}
	return io.NopCloser(buffered), nil
}

var (
	errEntries  = fmt.Errorf("more than %d entries; if that is intended, raise archive.MaxEntries", MaxEntries)
	errTooLarge = fmt.Errorf("more than %v when unpacked; if that is intended, raise archive.MaxBytes", MaxBytes)
	errBomb     = fmt.Errorf("unpacks to more than %d times its size: a decompression bomb; if that is intended, raise archive.MaxRatio", MaxRatio)
	errCut      = errors.New("the archive is truncated; fetch it again")
	errTwice    = errors.New("the archive has two entries of this name")
	errTrailing = errors.New("bytes after the end of the archive")
)

// countingReader counts the bytes read through it.
type countingReader struct {
	stream io.Reader
	n      int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.stream.Read(p)
	r.n += int64(n)
	return n, err
}

func (r *countingReader) bytes() int64 { return r.n }

// meter counts unpacked bytes and enforces the limits.
type meter struct {
	packed func() int64 // bytes of the archive read so far
	n      int64
}

func (m *meter) add(n int64) error {
	m.n += n
	switch {
	case m.n > int64(MaxBytes):
		return errTooLarge
	case m.n > int64(MaxFree) && m.n > MaxRatio*m.packed():
		return errBomb
	}
	return nil
}

// meteredReader counts bytes on a meter and fails above its limits.
type meteredReader struct {
	stream io.Reader
	meter  *meter
}

func (r *meteredReader) Read(p []byte) (int, error) {
	n, err := r.stream.Read(p)
	if tooMuch := r.meter.add(int64(n)); tooMuch != nil {
		return 0, tooMuch
	}
	return n, err
}

// Whole reads a plain tar stream to its very end, and refuses headers that readers understand in different ways.
type Whole struct {
	stream  io.Reader
	headers *headers
	zeros   int64 // bytes at the end of what was read
}

// NewWhole returns a reader of a tar stream, for package tar.
func NewWhole(stream io.Reader) *Whole { return &Whole{stream: stream, headers: newHeaders()} }

func (r *Whole) Read(p []byte) (int, error) {
	n, err := r.stream.Read(p)
	if wrong := r.headers.feed(p[:n]); wrong != nil {
		return 0, wrong
	}
	if tail := int64(n - len(bytes.TrimRight(p[:n], "\x00"))); tail == int64(n) {
		r.zeros += tail
	} else {
		r.zeros = tail
	}
	return n, err
}

// Finish reads past the last entry, so that the decompressor verifies its checksum.
// A tar archive ends in two blocks of 512 zero bytes (POSIX.1-2017, pax, "ustar Interchange Format") and padding.
func (r *Whole) Finish() error {
	if r.zeros < 512 {
		return errCut
	}
	before := r.zeros
	rest, err := io.Copy(io.Discard, r)
	switch {
	case err != nil:
		return err
	case r.zeros != before+rest:
		return errTrailing
	case r.zeros < 1024:
		return errCut
	}
	return nil
}
