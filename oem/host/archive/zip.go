package archive

import (
	"archive/tar"
	"archive/zip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Zip unpacks a zip archive into root, by the same rules as Tar.
// Entries from systems without Unix modes get 0644 or 0755. All entries belong to root.
//
// The directory counts. What is before an entry must say the same, and every byte must belong to an entry or the directory.
func Zip(file io.ReaderAt, length int64, root *os.Root, o Options) error {
	x := newExtractor(root, o, func() int64 { return length })
	entries, err := zipEntries(file, length)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Name, err)
	}
	for _, entry := range entries {
		if err := x.zipEntry(entry); err != nil {
			return &EntryError{o.Name, entry.Name, asCut(err)}
		}
	}
	return x.finishDirs()
}

// maxDirectory limits the central directory, which is held in memory. 50 000 entries with long names have 8 MB.
const maxDirectory = 32 * size.MiB

// zipEntries reads the central directory and refuses overlapping entries, as zip bombs have them.
func zipEntries(file io.ReaderAt, length int64) ([]*zip.File, error) {
	budget := &readBudget{file: file, left: int64(maxDirectory)}
	reader, err := zip.NewReader(budget, length)
	if err != nil {
		return nil, err
	}
	budget.unlimited = true
	reader.RegisterDecompressor(zip.Deflate, inflate)
	entries := reader.File
	if len(entries) > MaxEntries {
		return nil, errEntries
	}
	starts := map[*zip.File]int64{}
	const encrypted = 1 // APPNOTE.TXT, 4.4.4
	for _, entry := range entries {
		if entry.Flags&encrypted != 0 {
			return nil, fmt.Errorf("entry %q: is encrypted", entry.Name)
		}
		if starts[entry], err = entry.DataOffset(); err != nil {
			return nil, fmt.Errorf("entry %q: %w", entry.Name, err)
		}
	}
	inOrder := slices.Clone(entries)
	slices.SortStableFunc(inOrder, func(a, b *zip.File) int { return int(starts[a] - starts[b]) })
	const localHeader = 30 // bytes before the name (APPNOTE.TXT, 4.3.7)
	for i, entry := range inOrder[:max(0, len(inOrder)-1)] {
		next := inOrder[i+1]
		if entry.CompressedSize64 > uint64(max(0, starts[next]-localHeader-starts[entry])) {
			return nil, fmt.Errorf("entries %q and %q use the same bytes of the archive", entry.Name, next.Name)
		}
	}
	return entries, checkLayout(file, length, reader.Comment, inOrder, starts)
}

// readBudget fails reads above a number of bytes.
type readBudget struct {
	file      io.ReaderAt
	left      int64
	unlimited bool
}

func (r *readBudget) ReadAt(p []byte, offset int64) (int, error) {
	if r.left -= int64(len(p)); r.left < 0 && !r.unlimited {
		return 0, fmt.Errorf("its central directory has more than %v", maxDirectory)
	}
	return r.file.ReadAt(p, offset)
}

// zipEntry unpacks one entry as if it came from a tar archive.
func (x *extractor) zipEntry(entry *zip.File) error {
	if err := checkZipName(entry); err != nil {
		return err
	}
	if entry.UncompressedSize64 > uint64(MaxBytes) {
		return errTooLarge
	}
	content, err := entry.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	header, err := zipHeader(entry, content)
	if err != nil {
		return err
	}
	return x.entry(header, content)
}

// zipHeader translates an entry into a tar header.
func zipHeader(entry *zip.File, content io.Reader) (*tar.Header, error) {
	header := &tar.Header{Name: entry.Name, Typeflag: tar.TypeReg, ModTime: entry.Modified, Mode: zipMode(entry)}
	switch entry.Mode().Type() {
	case 0:
		header.Size = int64(entry.UncompressedSize64)
	case fs.ModeDir:
		header.Typeflag = tar.TypeDir
	case fs.ModeSymlink:
		header.Typeflag = tar.TypeSymlink
		target, err := io.ReadAll(io.LimitReader(content, MaxName+1))
		header.Linkname = string(target)
		return header, err
	case fs.ModeNamedPipe:
		header.Typeflag = tar.TypeFifo
	default:
		header.Typeflag = tar.TypeChar // a device or socket; both are refused
	}
	return header, nil
}

// zipMode returns the mode bits of chmod(2).
func zipMode(entry *zip.File) int64 {
	const unix, macOS = 3, 19 // APPNOTE.TXT, 4.4.2
	switch creator := entry.CreatorVersion >> 8; {
	case creator != unix && creator != macOS && entry.Mode().IsDir():
		return 0o755
	case creator != unix && creator != macOS:
		return 0o644
	}
	bits := int64(entry.Mode().Perm())
	for flag, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if entry.Mode()&flag != 0 {
			bits |= bit
		}
	}
	return bits
}
