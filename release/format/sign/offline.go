package sign

import (
	"cmp"
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

// algorithm names what is asked for: the padding, and the digest that is given.
const algorithm = "RSASSA-PKCS1-v1_5 SHA-256"

// commands sign everything that a request asks for, in its directory, with a shell, sed and openssl.
// A digest is signed as it is, and not hashed once more.
func commands(request string) string {
	return `sed -n 's/.*"digest": "\([0-9a-f]*\)".*/\1/p' ` + request + ` | while read -r d; do
  env printf "$(echo "$d" | sed 's/../\\x&/g')" | openssl pkeyutl -sign -inkey KEY.pem -pkeyopt digest:sha256 -out "$d.sig"
done`
}

// Request is a list of digests for whoever has the private key.
type Request struct {
	Algorithm  string        `json:"algorithm"`
	Key        digest.SHA256 `json:"key"` // of the public key (SubjectPublicKeyInfo, DER)
	Signatures []Missing     `json:"signatures"`
}

// Missing is one signature that is asked for.
type Missing struct {
	Name   string        `json:"name"`   // what is signed, for people
	Digest digest.SHA256 `json:"digest"` // hexadecimal
	File   string        `json:"file"`   // what the signature is to be called, beside the request; raw bytes
}

// MissingError says that a signature must be made elsewhere first.
type MissingError struct{ Missing }

func (e *MissingError) Error() string {
	return fmt.Sprintf("its signature is made elsewhere and %s is not there yet", e.File)
}

// RequestError says that a run ended without some signatures, and what to do.
type RequestError struct {
	Path  string // of the request
	Count int    // of missing signatures
}

func (e *RequestError) Error() string {
	dir, file := filepath.Split(e.Path)
	return fmt.Sprintf("%d signatures are missing, and %s asks for them: run this beside it where the private key is, bring the .sig files back to %s and run again:\n%s",
		e.Count, e.Path, dir, commands(file))
}

// desk is where signatures come in and requests go out.
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

// look returns a signature that was made elsewhere, or notes that it is missing.
func (k *desk) look(name string, d digest.SHA256) ([]byte, error) {
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
		return nil, fmt.Errorf("%s: %w; it was made with another key or over something else: remove it", f.Name(), err)
	}
	return signature, nil
}

// request writes down what was missing. The request of an earlier run is replaced, or removed when nothing is missing.
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
