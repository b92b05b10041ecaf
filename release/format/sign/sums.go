package sign

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"aead.dev/minisign"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// OpenPGP returns an armored detached signature of content by the private key in a file, which nobody else may read.
//
// It is dated when, or the key's creation if that is later, so that the same content always has the same signature.
// A key that may not sign at the time now is refused.
func OpenPGP(keyFile, passphrase string, content []byte, when, now time.Time) ([]byte, error) {
	key, err := readOpenPGP(keyFile, passphrase)
	if err != nil {
		return nil, err
	}
	if _, may := key.SigningKey(now); !may {
		return nil, fmt.Errorf("%s: the key cannot sign now: it has expired, was revoked, or is not a signing key", keyFile)
	}
	dated := when
	for _, t := range youth(key) {
		if t.After(dated) {
			dated = t
		}
	}
	random := false // notations that make signatures differ
	config := &packet.Config{Time: func() time.Time { return dated }, NonDeterministicSignaturesViaNotation: &random}
	var signature bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&signature, key, bytes.NewReader(content), config); err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	signature.WriteByte('\n')
	return signature.Bytes(), nil
}

func readOpenPGP(path, passphrase string) (*openpgp.Entity, error) {
	content, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	defer clear(content)
	read := openpgp.ReadKeyRing
	if bytes.Contains(content, []byte("-----BEGIN PGP PRIVATE KEY BLOCK-----")) {
		read = openpgp.ReadArmoredKeyRing
	}
	keys, err := read(bytes.NewReader(content))
	if err != nil || len(keys) != 1 || keys[0].PrivateKey == nil {
		// The library's errors may quote what it could not parse.
		return nil, fmt.Errorf("%s: wanted one OpenPGP private key, as gpg --export-secret-keys writes it", path)
	}
	if err := keys[0].DecryptPrivateKeys([]byte(passphrase)); err != nil {
		return nil, fmt.Errorf("%s: wrong passphrase", path)
	}
	return keys[0], nil
}

// youth returns the times before which parts of a key were not there.
func youth(key *openpgp.Entity) []time.Time {
	times := []time.Time{key.PrimaryKey.CreationTime}
	for _, identity := range key.Identities {
		if identity.SelfSignature != nil {
			times = append(times, identity.SelfSignature.CreationTime)
		}
	}
	for _, sub := range key.Subkeys {
		times = append(times, sub.PublicKey.CreationTime)
		if sub.Sig != nil {
			times = append(times, sub.Sig.CreationTime)
		}
	}
	return times
}

// Minisign returns a signature of content by minisign's private key in a file, which nobody else may read.
// Comment is signed with it. The key has no passphrase, as minisign -G -W writes it.
func Minisign(keyFile string, content []byte, comment string) ([]byte, error) {
	encoded, err := readSecret(keyFile)
	if err != nil {
		return nil, err
	}
	defer clear(encoded)
	var key minisign.PrivateKey
	if minisign.IsEncrypted(encoded) || key.UnmarshalText(encoded) != nil {
		return nil, fmt.Errorf("%s: wanted a private key without a passphrase, as minisign -G -W writes it", keyFile)
	}
	reader := minisign.NewReader(bytes.NewReader(content))
	if _, err := io.Copy(io.Discard, reader); err != nil { // which makes it a signature of the current, prehashed kind
		return nil, err
	}
	return reader.SignWithComments(key, comment, "signature of "+comment), nil
}

// readSecret reads a small file that others than its owner may not read.
func readSecret(path string) ([]byte, error) {
	content, mode, err := readSmall(path)
	if err != nil {
		var missing *os.PathError
		if errors.As(err, &missing) {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if mode&0o077 != 0 {
		clear(content)
		return nil, fmt.Errorf("%s holds a private key that other users can read (mode %04o); run chmod 600 %s", path, mode, path)
	}
	return content, nil
}
