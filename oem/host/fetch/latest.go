package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// MaxDocument limits the length of a document. The largest in use, an index of Debian unstable, has 200 KB.
const MaxDocument = 16 * size.MiB

// Document is the current content of an address. Only the caller verifies it.
type Document struct {
	Content []byte
	Kept    []byte // the copy kept by an earlier run; nil when there is none
	Offline bool   // the server could not be reached, so Content is the kept copy

	path   string
	header keptHeader
}

// keptHeader is the first line of a kept copy's file, as JSON; the content follows.
type keptHeader struct {
	Address      string // redacted, for people
	ETag         string
	LastModified string
	SHA256       digest.SHA256 // of the content; a damaged copy is ignored
}

// Latest returns the document at an address whose content changes. If it is the same as the kept copy,
// nothing but a conditional request is transferred.
// When the server is unreachable or broken, the kept copy is returned, with a warning in the log.
//
// The caller verifies the content (a signature, a date) and then calls Keep.
func (s *Store) Latest(ctx context.Context, address string) (*Document, error) {
	dir, err := s.makeDir("latest")
	if err != nil {
		return nil, err
	}
	doc := &Document{path: filepath.Join(dir, digest.Of([]byte(address)).String())}
	if err := doc.load(); err != nil {
		return nil, err
	}
	switch err := s.refresh(ctx, address, doc); {
	case err == nil:
		return doc, nil
	case doc.Kept != nil && ctx.Err() == nil && errors.Is(err, ErrUnreachable):
		s.log.Warn("server unreachable; using the kept copy", "address", Redact(address), "error", err)
		doc.Content, doc.Offline = doc.Kept, true
		return doc, nil
	default:
		return nil, fmt.Errorf("fetch %s: %w", Redact(address), err)
	}
}

// ErrUnreachable is wrapped by errors of the server or the network, after which a kept copy may be used.
var ErrUnreachable = errors.New("the server is unreachable or broken")

// refresh requests the document, and retries interrupted transfers.
func (s *Store) refresh(ctx context.Context, address string, doc *Document) error {
	for attempt := 1; ; attempt++ {
		err := s.ask(ctx, address, doc)
		if !errors.Is(err, errCut) || ctx.Err() != nil || attempt == cutAttempts {
			return err
		}
		if err := s.pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// ask requests the document once, conditionally if there is a kept copy.
func (s *Store) ask(ctx context.Context, address string, doc *Document) error {
	client := s.patient
	if doc.Kept != nil {
		client = s.hasty
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	response, err := s.get(ctx, client, address, doc.conditions())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusNotModified && doc.Kept != nil:
		doc.Content = doc.Kept
		return nil
	case response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= http.StatusInternalServerError:
		return fmt.Errorf("%w: %w", ErrUnreachable, statusError(response))
	case response.StatusCode != http.StatusOK:
		return statusError(response)
	}
	body := newStallReader(ctx, response.Body, cancel)
	defer body.stop()
	content, err := io.ReadAll(io.LimitReader(body, int64(MaxDocument)+1))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if len(content) > int(MaxDocument) {
		return fmt.Errorf("the document has more than %v", MaxDocument)
	}
	doc.Content = content
	doc.header = keptHeader{
		Address:      Redact(address),
		ETag:         response.Header.Get("ETag"),
		LastModified: response.Header.Get("Last-Modified"),
		SHA256:       digest.Of(content),
	}
	return nil
}

// conditions returns headers that request the document only if it differs from the kept copy (RFC 9110, 13.1).
func (d *Document) conditions() http.Header {
	header := http.Header{}
	if d.Kept == nil {
		return header
	}
	if d.header.ETag != "" {
		header.Set("If-None-Match", d.header.ETag)
	}
	if d.header.LastModified != "" {
		header.Set("If-Modified-Since", d.header.LastModified)
	}
	return header
}

// Keep stores the document for the next Latest. Call it after verifying the content.
func (d *Document) Keep() error {
	if bytes.Equal(d.Content, d.Kept) {
		return nil
	}
	header, err := json.Marshal(d.header)
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(d.path, 0o644, append(append(header, '\n'), d.Content...))
}

// load reads the copy that an earlier Keep stored, if there is an undamaged one.
func (d *Document) load() error {
	stored, err := os.ReadFile(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	line, content, _ := bytes.Cut(stored, []byte("\n"))
	var header keptHeader
	if json.Unmarshal(line, &header) == nil && digest.Of(content) == header.SHA256 {
		d.header, d.Kept = header, content
	}
	return nil
}
