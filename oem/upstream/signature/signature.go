// Package signature verifies detached OpenPGP (RFC 9580) and minisign signatures with pinned keys.
//
// Signatures and signed content are untrusted input.
package signature

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"aead.dev/minisign"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// MaxLength limits a detached signature. One by a large RSA key has 1 KB.
const MaxLength = 64 << 10

// ReadKeyring reads OpenPGP public keys from a file, binary or armored.
func ReadKeyring(path string) (openpgp.EntityList, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return ParseKeyring(path, content)
}

// ParseKeyring is ReadKeyring of a file's content.
func ParseKeyring(path string, content []byte) (openpgp.EntityList, error) {
	read := openpgp.ReadKeyRing
	if bytes.Contains(content, []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----")) {
		read = openpgp.ReadArmoredKeyRing
	}
	keys, err := read(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("keyring %s: %w", path, err)
	}
	return keys, nil
}

// OpenPGP checks that at least one of the signature packets in body, not armored, is valid and by a key of the keyring.
// Signatures by keys expired or revoked at the time now, expired signatures, and those with MD5 or SHA-1 are invalid. The signed content is read from its start for each signature.
func OpenPGP(keys openpgp.EntityList, content io.ReadSeeker, body io.Reader, now time.Time) error {
	packets, err := split(body)
	if err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	return check(keys, content, packets, func(one) time.Time { return now })
}

// OpenPGPThen is OpenPGPFile for keys that may have expired since they signed: each signature is verified
// at its creation time, which must not be after now. Signatures of keys revoked as compromised are always invalid.
func OpenPGPThen(keys openpgp.EntityList, content io.ReadSeeker, signature []byte, now time.Time) error {
	body, err := unarmored(signature)
	if err != nil {
		return err
	}
	packets, err := split(body)
	if err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	return check(keys, content, packets, func(o one) time.Time {
		if o.made.After(now) {
			return now
		}
		return o.made
	})
}

// check looks for one valid signature, each verified at its own time. None by a known key may be bad: the content or a signature was
// changed then. Apt wants the same.
func check(keys openpgp.EntityList, content io.ReadSeeker, packets []one, when func(one) time.Time) error {
	good, failures := false, []error{errors.New("no good signature by a key of the keyring")}
	for _, one := range packets {
		if _, err := content.Seek(0, io.SeekStart); err != nil {
			return err
		}
		config := &packet.Config{Time: func() time.Time { return when(one) }}
		_, err := openpgp.CheckDetachedSignature(keys, content, bytes.NewReader(one.packet), config)
		switch {
		case err == nil:
			good = true
			continue
		case !errors.Is(err, pgperrors.ErrUnknownIssuer) && !errors.Is(err, pgperrors.ErrKeyExpired) && !errors.Is(err, pgperrors.ErrSignatureExpired):
			return fmt.Errorf("no good signature by a key of the keyring: signature by %s: %w", one.issuer, err)
		}
		failures = append(failures, fmt.Errorf("signature by %s: %w", one.issuer, err))
	}
	if good {
		return nil
	}
	return errors.Join(failures...)
}

// OpenPGPFile is OpenPGP for the content of a signature file, armored or not.
func OpenPGPFile(keys openpgp.EntityList, content io.ReadSeeker, signature []byte, now time.Time) error {
	body, err := unarmored(signature)
	if err != nil {
		return err
	}
	return OpenPGP(keys, content, body, now)
}

func unarmored(signature []byte) (io.Reader, error) {
	body := bytes.NewReader(signature)
	if !bytes.Contains(signature, []byte("-----BEGIN PGP SIGNATURE-----")) {
		return body, nil
	}
	block, err := armor.Decode(body)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	return block.Body, nil
}

// one is a signature packet and its claimed issuer.
type one struct {
	issuer string
	made   time.Time
	packet []byte
}

// maxSignatures limits the signatures in a file. Debian makes three.
const maxSignatures = 16

// split separates the packets, since the library only verifies the first one with a known key.
func split(body io.Reader) ([]one, error) {
	var all []one
	for packets := packet.NewReader(body); ; {
		p, err := packets.NextWithUnsupported() // Next passes over what it does not know
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		sig, isSignature := p.(*packet.Signature)
		if !isSignature || sig.IssuerKeyId == nil || len(all) == maxSignatures {
			return nil, fmt.Errorf("wanted at most %d signature packets with an issuer, and no other packets", maxSignatures)
		}
		var encoded bytes.Buffer
		if err := sig.Serialize(&encoded); err != nil {
			return nil, err
		}
		all = append(all, one{fmt.Sprintf("key %016X", *sig.IssuerKeyId), sig.CreationTime, encoded.Bytes()})
	}
}

// MinisignKey reads a public key as minisign prints it, such as RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3.
func MinisignKey(text string) (minisign.PublicKey, error) {
	var key minisign.PublicKey
	if err := key.UnmarshalText([]byte(text)); err != nil {
		return key, fmt.Errorf("%q is not a minisign key; wanted the 56 characters that minisign -G prints", text)
	}
	return key, nil
}

// Lengths of lines of a minisign signature: 2 + 8 + 64 bytes and 64 bytes in base64.
const signatureLength, globalLength = 100, 88

// Minisign checks a prehashed minisign signature, the current kind, and its trusted comment.
func Minisign(key minisign.PublicKey, content io.Reader, signature []byte) error {
	// Package base64 passes over line breaks.
	for i, line := range strings.Split(strings.TrimSuffix(string(signature), "\n"), "\n") {
		if want := map[int]int{1: signatureLength, 3: globalLength}[i]; i > 3 || want > 0 && len(line) != want {
			return fmt.Errorf("not a minisign signature: line %d has %d bytes; wanted 4 lines, with %d bytes in the second and %d in the last", i+1, len(line), signatureLength, globalLength)
		}
	}
	var parsed minisign.Signature
	if err := parsed.UnmarshalText(signature); err != nil {
		return errors.New("not a minisign signature")
	}
	switch {
	case parsed.Algorithm != minisign.HashEdDSA:
		return errors.New("a legacy minisign signature, not prehashed; wanted one by minisign 0.10 or newer")
	case parsed.KeyID != key.ID():
		return fmt.Errorf("signed by key %016X; wanted %016X", parsed.KeyID, key.ID())
	}
	reader := minisign.NewReader(content)
	if _, err := io.Copy(io.Discard, reader); err != nil {
		return err
	}
	if !reader.Verify(key, signature) {
		return errors.New("the signature does not belong to this content, or its trusted comment was changed")
	}
	return nil
}

// File checks the signature of a file that is in another file, with a minisign key, or else with OpenPGP keys.
func File(file, signatureFile, minisignKey string, keys openpgp.EntityList) error {
	signature, err := os.ReadFile(signatureFile)
	if err != nil {
		return err
	}
	content, err := os.Open(file)
	if err != nil {
		return err
	}
	defer content.Close()
	if minisignKey != "" {
		key, err := MinisignKey(minisignKey)
		if err != nil {
			return err
		}
		return Minisign(key, content, signature)
	}
	return OpenPGPFile(keys, content, signature, time.Now())
}
