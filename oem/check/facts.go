package check

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/flatcar/oem-sysext/oem/check/elf"
	"github.com/flatcar/oem-sysext/oem/host/archive"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// facts are what a file's content requires to run.
type facts struct {
	elf         *elf.File // nil for other files
	interpreter []string  // the words after #!
	crlf        bool      // the line of the interpreter ends with a carriage return, which the kernel takes for part of a name
	broken      string    // why it could not be read
}

// factsCache caches facts by content, since platforms share most files.
type factsCache struct {
	mu    sync.Mutex
	known map[digest.SHA256]facts
}

// factsOf reads the facts of a file.
func (c *factsCache) factsOf(v *view, e tree.Entry) (facts, error) {
	c.mu.Lock()
	known, found := c.known[e.SHA256]
	c.mu.Unlock()
	if found {
		return known, nil
	}
	f, err := v.open(e)
	if err != nil {
		return facts{}, err
	}
	defer f.Close()
	read, err := readFacts(f, path.Base(e.Path))
	if err != nil {
		return facts{}, fmt.Errorf("%s: %w", e.Path, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[digest.SHA256]facts{}
	}
	c.known[e.SHA256] = read
	return read, nil
}

func readFacts(f *os.File, name string) (facts, error) {
	head := make([]byte, 256) // the kernel reads no more of a script's first line (BINPRM_BUF_SIZE)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return facts{}, err
	}
	head = head[:n]
	if line, isScript := strings.CutPrefix(string(head), "#!"); isScript {
		line, _, _ = strings.Cut(line, "\n")
		return facts{interpreter: strings.Fields(line), crlf: strings.HasSuffix(line, "\r")}, nil
	}
	var content io.ReaderAt = f
	switch {
	case elf.Is(head):
	case strings.Contains(name, ".ko."):
		if content, err = decompressModule(f); err != nil {
			return facts{broken: err.Error()}, nil
		}
	default:
		return facts{}, nil
	}
	read, err := elf.Read(content)
	if err != nil {
		return facts{broken: err.Error()}, nil
	}
	return facts{elf: read}, nil
}

// maxModule limits an unpacked kernel module. The largest ones, graphics drivers, have about 20 MB.
const maxModule = 256 << 20

// decompressModule unpacks a kernel module.
func decompressModule(f *os.File) (io.ReaderAt, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	plain, err := archive.Decompress(f)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	content, err := io.ReadAll(io.LimitReader(plain, maxModule+1))
	if err == nil && len(content) > maxModule {
		err = fmt.Errorf("unpacks to more than %d bytes", maxModule)
	}
	return bytes.NewReader(content), err
}
