package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// Results caches the results of steps under the digest of the step's name and inputs.
type Results struct {
	dir    string
	blobs  *Blobs
	shared *Shared
}

// OpenResults opens the results in a directory, and creates it if necessary. Results name blobs; both may be exchanged
// with other machines through shared, which may be nil.
func OpenResults(dir string, blobs *Blobs, shared *Shared) (*Results, error) {
	return &Results{dir, blobs, shared}, os.MkdirAll(dir, 0o755)
}

// Blob is content that a result names.
type Blob struct {
	SHA256 digest.SHA256
	Size   int64
}

// Step is a step with its inputs, whose result is cached.
type Step struct {
	results *Results
	name    string
	inputs  any
}

// Step returns the step of a name, with everything that its result depends on.
func (r *Results) Step(name string, inputs any) Step { return Step{r, name, inputs} }

func (s Step) key() (digest.SHA256, error) { return digest.OfInputs([]any{s.name, s.inputs}) }

// Memo returns the cached result of the step for the same inputs, local or shared, if all blobs that it names are available;
// otherwise it runs the step and caches the result.
// Inputs must contain everything that the result depends on. Neither inputs nor result may refer to this machine.
func Memo[T any](ctx context.Context, s Step, names func(T) []Blob, run func() (T, error)) (T, error) {
	r := s.results
	usable := func(result T) bool { return r.shared.complete(ctx, r.blobs, names(result)) }
	key, err := s.key()
	if err != nil {
		var none T
		return none, err
	}
	result, err := local(s, key, usable, func() (T, error) {
		if encoded, found := r.shared.result(ctx, key); found {
			var result T
			if json.Unmarshal(encoded, &result) == nil && usable(result) {
				return result, nil
			}
		}
		return run()
	})
	if err != nil || !r.shared.lacks(ctx, key) {
		return result, err
	}
	encoded, err := json.Marshal(result)
	if err == nil {
		r.shared.share(ctx, r.blobs, key, encoded, names(result))
	}
	return result, err
}

// Nothing is for results that name no blobs.
func Nothing[T any](T) []Blob { return nil }

// Local is Memo for results that are valid on this machine only, such as paths, as long as usable accepts them.
func Local[T any](s Step, usable func(T) bool, run func() (T, error)) (T, error) {
	key, err := s.key()
	if err != nil {
		var none T
		return none, err
	}
	return local(s, key, usable, run)
}

func local[T any](s Step, key digest.SHA256, usable func(T) bool, run func() (T, error)) (T, error) {
	path := filepath.Join(s.results.dir, fmt.Sprintf("%s-%s", s.name, key))
	if kept, ok := read[T](path); ok && usable(kept) {
		if info, err := os.Stat(path); err == nil {
			markUsed(path, info)
		}
		return kept, nil
	}
	result, err := run()
	if err != nil {
		return result, err
	}
	return result, write(path, result)
}

// A result's file is the digest of its JSON, a newline, and the JSON.

func read[T any](path string) (result T, ok bool) {
	content, err := os.ReadFile(path)
	if err != nil {
		return result, false
	}
	sum, encoded, found := bytes.Cut(content, []byte("\n"))
	if !found || digest.Of(encoded).String() != string(sum) {
		return result, false
	}
	return result, json.Unmarshal(encoded, &result) == nil
}

func write(path string, result any) error {
	encoded, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(path, 0o644, append([]byte(digest.Of(encoded).String()+"\n"), encoded...))
}
