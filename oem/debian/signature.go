package debian

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// readKeyring reads OpenPGP public keys, binary or armored.
func readKeyring(path string) (openpgp.EntityList, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
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

// openSigned returns the text of a cleartext-signed document (RFC 9580, 7) that at least one key of the keyring signed.
// Debian signs with several keys, of which a keyring may lack the newest. Signatures by keys that are expired or revoked
// at the time now, expired signatures, and those over MD5 or SHA-1 count for nothing.
// Text outside the signed part is refused.
func openSigned(document []byte, keys openpgp.EntityList, now time.Time) (string, error) {
	block, text, err := decodeSigned(document)
	if err != nil {
		return "", err
	}
	signatures, err := splitSignatures(block.ArmoredSignature.Body)
	if err != nil {
		return "", fmt.Errorf("signature: %w", err)
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	failures := []error{errors.New("no good signature by a key of the keyring")}
	for _, signature := range signatures {
		_, err := openpgp.CheckDetachedSignature(keys, bytes.NewReader(block.Bytes), bytes.NewReader(signature.packet), config)
		if err == nil {
			return text, nil
		}
		failures = append(failures, fmt.Errorf("signature by %s: %w", signature.issuer, err))
	}
	return "", errors.Join(failures...)
}

// decodeSigned takes a cleartext-signed document apart without judging the signatures.
func decodeSigned(document []byte) (block *clearsign.Block, text string, err error) {
	block, rest := clearsign.Decode(document)
	switch {
	case block == nil:
		return nil, "", errors.New("not signed: wanted a text between PGP SIGNED MESSAGE lines")
	case !bytes.HasPrefix(document, []byte("-----BEGIN PGP SIGNED MESSAGE-----")), len(bytes.TrimSpace(rest)) > 0:
		return nil, "", errors.New("there is text outside the signed part")
	}
	// Bytes is what the signature covers, with the line ends of OpenPGP.
	return block, string(bytes.ReplaceAll(block.Bytes, []byte("\r\n"), []byte("\n"))), nil
}

// signature is one signature packet and whose it claims to be.
type signature struct {
	issuer string
	packet []byte
}

// maxSignatures is how many signatures are looked at. Debian makes three.
const maxSignatures = 16

// splitSignatures takes the packets apart, since the library judges a series of them by the first whose key it knows.
func splitSignatures(body io.Reader) ([]signature, error) {
	var all []signature
	for packets := packet.NewReader(body); ; {
		p, err := packets.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		sig, isSignature := p.(*packet.Signature)
		if !isSignature || sig.IssuerKeyId == nil || len(all) == maxSignatures {
			return nil, fmt.Errorf("wanted at most %d signatures with an issuer, and nothing else", maxSignatures)
		}
		var encoded bytes.Buffer
		if err := sig.Serialize(&encoded); err != nil {
			return nil, err
		}
		all = append(all, signature{fmt.Sprintf("key %016X", *sig.IssuerKeyId), encoded.Bytes()})
	}
}
