package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/atomicfile"
	"github.com/flatcar/oem-sysext/oem/digest"
)

// Results keeps what steps returned under the digest of the step's name and inputs.
type Results struct{ dir string }

// OpenResults opens the results in a directory, which is made when it is not there.
func OpenResults(dir string) (*Results, error) {
	return &Results{dir: dir}, os.MkdirAll(dir, 0o755)
}

// Memo returns what the step returned before for the same inputs, as long as usable agrees
// (it is asked whether the blobs that a result names are still there); otherwise it runs the step and keeps the result.
// Inputs must name everything that the result depends on.
func Memo[T any](r *Results, step string, inputs any, usable func(T) bool, run func() (T, error)) (T, error) {
	key, err := digest.OfInputs([]any{step, inputs})
	if err != nil {
		var none T
		return none, err
	}
	path := filepath.Join(r.dir, fmt.Sprintf("%s-%s", step, key))
	if kept, ok := read[T](path); ok && usable(kept) {
		return kept, nil
	}
	result, err := run()
	if err != nil {
		return result, err
	}
	return result, write(path, result)
}

// A result's file is the digest of the JSON behind it, a newline, and that JSON.

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
