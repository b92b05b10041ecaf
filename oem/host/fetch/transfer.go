package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// cutAttempts is how often a transfer from one address is attempted when it is interrupted.
const cutAttempts = 5

var (
	errCut      = errors.New("the transfer was interrupted")
	errMismatch = errors.New("wrong content")
)

// transfer fills the partial file from one address, and resumes interrupted transfers.
func (s *Store) transfer(ctx context.Context, part *partial, address string, want Want) error {
	for attempt := 1; ; attempt++ {
		resumed, err := s.attempt(ctx, part, address, want)
		switch {
		case err == nil || ctx.Err() != nil || attempt == cutAttempts:
			return err
		case errors.Is(err, errMismatch) && resumed:
			// The two parts may come from different files: retry from the start.
		case !errors.Is(err, errCut):
			return err
		default:
			s.log.Warn("download interrupted; resuming", "address", Redact(address), "attempt", attempt, "error", err)
		}
		if err := s.pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// attempt requests the rest of the partial file once. It returns whether it resumed an earlier transfer.
// Wrong content is discarded.
func (s *Store) attempt(ctx context.Context, part *partial, address string, want Want) (resumed bool, err error) {
	offset, err := part.length()
	if err != nil {
		return false, err
	}
	if size.Bytes(offset) >= want.limit() {
		offset = 0 // complete but never moved to the store, or wrong
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	response, offset, err := s.goOn(ctx, part, address, offset)
	if err != nil {
		return offset > 0, err
	}
	defer response.Body.Close()
	body := newStallReader(ctx, response.Body, cancel)
	defer body.stop()
	return offset > 0, s.receive(part, incoming{name(address), offset, response.ContentLength, body}, want)
}

// goOn requests the file from offset on, and returns the offset at which the response begins.
func (s *Store) goOn(ctx context.Context, part *partial, address string, offset int64) (*http.Response, int64, error) {
	response, err := s.get(ctx, s.patient, address, rangeFrom(offset))
	if err != nil {
		return nil, 0, err
	}
	switch {
	case response.StatusCode == http.StatusOK:
		return response, 0, nil // the server does not support ranges and sends everything
	case response.StatusCode == http.StatusPartialContent && startsAt(response, offset):
		return response, offset, nil
	case response.StatusCode == http.StatusPartialContent, response.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		err = errors.Join(errCut, part.restart())
	default:
		offset, err = 0, statusError(response)
	}
	response.Body.Close()
	return nil, offset, err
}

// incoming is the part of a file that a server sends.
type incoming struct {
	name      string // of the file, for the progress
	offset    int64  // in the file, of the first byte of body
	announced int64  // length of body; -1 when the server does not say
	body      io.Reader
}

// receive appends to the partial file and verifies length and digest of the whole.
func (s *Store) receive(part *partial, in incoming, want Want) error {
	total, err := wholeLength(in, want)
	if err != nil {
		return errors.Join(err, part.restart())
	}
	got, length, err := s.appendTo(part, in, total, want.limit())
	switch {
	case length > want.limit():
		return errors.Join(tooLong(want), part.restart())
	case err != nil:
		return err
	case length < want.Size:
		return fmt.Errorf("%w after %d of %d bytes", errCut, length, want.Size)
	case got != want.SHA256:
		return errors.Join(mismatch(want, got, length), part.restart())
	}
	return nil
}

// appendTo writes the body behind the first offset bytes of the partial file and returns digest and length of the whole.
// It stops one byte above the limit, which tells a file that is too long from one of exactly that length.
// The total is for the progress; 0 when not known.
func (s *Store) appendTo(part *partial, in incoming, total, limit size.Bytes) (digest.SHA256, size.Bytes, error) {
	hash := sha256.New()
	seen := io.Writer(hash)
	if s.progress != nil {
		bar := s.progress.Start(in.name, total)
		defer bar.Close()
		seen = io.MultiWriter(hash, bar)
	}
	var err error
	if in.offset == 0 {
		err = part.restart()
	} else {
		_, err = io.Copy(seen, io.NewSectionReader(part.file, 0, in.offset))
	}
	if err != nil {
		return digest.SHA256{}, 0, err
	}
	received, err := io.Copy(io.MultiWriter(part.file, seen), io.LimitReader(in.body, int64(limit)-in.offset+1))
	length := size.Bytes(in.offset + received)
	if err != nil {
		err = fmt.Errorf("after %d bytes: %w", length, err)
	}
	return digest.SHA256(hash.Sum(nil)), length, err
}

// wholeLength checks the announced length before anything is received.
func wholeLength(in incoming, want Want) (size.Bytes, error) {
	total := want.Size
	if in.announced >= 0 {
		total = size.Bytes(in.offset + in.announced)
	}
	if want.Size > 0 && total != want.Size {
		return 0, fmt.Errorf("%w: the server has %d bytes, wanted %d with sha256 %v; %s", errMismatch, total, want.Size, want.SHA256, whatToDo)
	}
	if total > want.limit() {
		return 0, tooLong(want)
	}
	return total, nil
}

const whatToDo = "if the file was replaced upstream, review it and pin its new digest; else try another mirror"

func mismatch(want Want, got digest.SHA256, length size.Bytes) error {
	return fmt.Errorf("%w: got %d bytes with sha256 %v, wanted sha256 %v; %s", errMismatch, length, got, want.SHA256, whatToDo)
}

func tooLong(want Want) error {
	if want.Size > 0 {
		return fmt.Errorf("%w: more than the %d bytes wanted; %s", errMismatch, want.Size, whatToDo)
	}
	return fmt.Errorf("more than %v, the limit for a file whose length is not given; give its length", want.limit())
}

func rangeFrom(offset int64) http.Header {
	header := http.Header{}
	if offset > 0 {
		header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
	}
	return header
}

// startsAt tells whether a partial response begins at the requested offset (RFC 9110, 14.4).
func startsAt(response *http.Response, offset int64) bool {
	return strings.HasPrefix(response.Header.Get("Content-Range"), "bytes "+strconv.FormatInt(offset, 10)+"-")
}

// statusError is the error for a response other than the file.
func statusError(response *http.Response) error {
	switch response.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("HTTP status %s: %w", response.Status, ErrNotFound)
	}
	return fmt.Errorf("HTTP status %s", response.Status)
}

// name is the file's name for people: the last part of its address.
func name(address string) string { return path.Base(Redact(address)) }

// pause waits after a failed attempt, longer each time.
func (s *Store) pause(ctx context.Context, attempt int) error {
	client := s.patient
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(client.Backoff(client.RetryWaitMin, client.RetryWaitMax, attempt-1, nil)):
		return nil
	}
}
