package sign

import (
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// algorithm is the padding and the digest of requested signatures.
const algorithm = "RSASSA-PKCS1-v1_5 SHA-256"

// commands returns shell commands that make all signatures of a request, in its directory, with sed and openssl. Digests are
// signed directly, not hashed again.
func commands(request string) string {
	return `sed -n 's/.*"digest": "\([0-9a-f]*\)".*/\1/p' ` + request + ` | while read -r d; do
  env printf "$(echo "$d" | sed 's/../\\x&/g')" | openssl pkeyutl -sign -inkey KEY.pem -pkeyopt digest:sha256 -out "$d.sig"
done`
}

// Request is a list of digests to sign, for the owner of the private key.
type Request struct {
	Algorithm  string        `json:"algorithm"`
	Key        digest.SHA256 `json:"key"` // of the public key (SubjectPublicKeyInfo, DER)
	Signatures []Missing     `json:"signatures"`
}

// Missing is one requested signature.
type Missing struct {
	Name   string        `json:"name"`   // description of the signed content
	Digest digest.SHA256 `json:"digest"` // hexadecimal
	File   string        `json:"file"`   // file name of the raw signature, beside the request
}

// MissingError says that a signature must be made elsewhere first.
type MissingError struct{ Missing }

func (e *MissingError) Error() string {
	return fmt.Sprintf("its signature must be made elsewhere and %s does not exist yet", e.File)
}

// RequestError says which signatures are missing and how to make them.
type RequestError struct {
	Path  string // of the request
	Count int    // of missing signatures
}

func (e *RequestError) Error() string {
	dir, file := filepath.Split(e.Path)
	return fmt.Sprintf("%d signatures are missing and listed in %s: run the commands below beside it where the private key is, copy the .sig files to %s and run again:\n%s",
		e.Count, e.Path, dir, commands(file))
}

// desk is the directory for signatures and requests.
type desk struct {
	dir         string
	public      *rsa.PublicKey
	fingerprint digest.SHA256

	mutex   sync.Mutex
	missing map[digest.SHA256]Missing
}

func newDesk(dir string, public *rsa.PublicKey) (*desk, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	return &desk{dir: dir, public: public, fingerprint: digest.Of(der), missing: map[digest.SHA256]Missing{}}, err
}

// look returns a signature that was made elsewhere, or records it as missing.
func (k *desk) look(_ context.Context, name string, d digest.SHA256) ([]byte, error) {
	file := d.String() + ".sig"
	f, err := os.Open(filepath.Join(k.dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		missing := Missing{name, d, file}
		k.mutex.Lock()
		defer k.mutex.Unlock()
		k.missing[d] = missing
		return nil, &MissingError{missing}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	signature, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, err
	}
	if err := Verify(k.public, d, signature); err != nil {
		return nil, fmt.Errorf("%s: %w; it was made with another key or for another digest; remove it", f.Name(), err)
	}
	return signature, nil
}

// request writes the request for the missing signatures. It replaces the one of an earlier run, or removes it if nothing is
// missing.
func (k *desk) request() error {
	// Two keys may share a directory.
	path := filepath.Join(k.dir, "signing-request-"+k.fingerprint.Short()+".json")
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if len(k.missing) == 0 {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	list := slices.SortedFunc(maps.Values(k.missing), func(a, b Missing) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.File, b.File))
	})
	encoded, err := json.MarshalIndent(Request{algorithm, k.fingerprint, list}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(k.dir, 0o755); err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(path, 0o644, append(encoded, '\n')); err != nil {
		return err
	}
	return &RequestError{path, len(list)}
}
