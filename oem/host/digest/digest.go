// Package digest holds SHA-256 digests: of content, and of the inputs of a step.
package digest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// SHA256 is a SHA-256 digest.
type SHA256 [sha256.Size]byte

// Parse reads 64 hexadecimal digits.
func Parse(text string) (SHA256, error) {
	var d SHA256
	if len(text) != hex.EncodedLen(len(d)) {
		return d, fmt.Errorf("%q is not a sha256 digest; wanted 64 hexadecimal digits", text)
	}
	if _, err := hex.Decode(d[:], []byte(text)); err != nil {
		return d, fmt.Errorf("%q is not a sha256 digest: %w", text, err)
	}
	return d, nil
}

// Of returns the digest of data.
func Of(data []byte) SHA256 { return sha256.Sum256(data) }

// OfFile returns the digest of a file's content and its length in bytes.
func OfFile(path string) (SHA256, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return SHA256{}, 0, err
	}
	defer f.Close()
	return OfReader(f)
}

// OfReader reads r to its end and returns digest and length.
func OfReader(r io.Reader) (SHA256, int64, error) {
	hash := sha256.New()
	n, err := io.Copy(hash, r)
	return SHA256(hash.Sum(nil)), n, err
}

// OfInputs returns the digest of a step's inputs, which becomes the key of its result.
// Inputs are encoded as JSON, so two different inputs never have the same encoding,
// maps come in key order, and only exported fields count.
func OfInputs(inputs any) (SHA256, error) {
	encoded, err := json.Marshal(inputs)
	if err != nil {
		return SHA256{}, fmt.Errorf("encode inputs: %w", err)
	}
	return Of(encoded), nil
}

// String prints 64 lowercase hexadecimal digits.
func (d SHA256) String() string { return hex.EncodeToString(d[:]) }

// Short prints the first 12 digits, for people.
func (d SHA256) Short() string { return d.String()[:12] }

// IsZero tells whether no digest was set.
func (d SHA256) IsZero() bool { return d == SHA256{} }

// MarshalText writes what Parse reads.
func (d SHA256) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what Parse reads.
func (d *SHA256) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err == nil {
		*d = parsed
	}
	return err
}
