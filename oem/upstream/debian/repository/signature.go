package repository

import (
	"bytes"
	"errors"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"

	"github.com/flatcar/oem-sysext/oem/upstream/signature"
)

// openSigned verifies a cleartext-signed document (RFC 9580, 7) and returns its text. One key of the keyring is enough:
// Debian signs with several keys, of which a keyring may lack the newest.
// Text outside the signed part is refused.
func openSigned(document []byte, keys openpgp.EntityList, now time.Time) (string, error) {
	block, text, err := decodeSigned(document)
	if err != nil {
		return "", err
	}
	if err := signature.OpenPGP(keys, bytes.NewReader(block.Bytes), block.ArmoredSignature.Body, now); err != nil {
		return "", err
	}
	return text, nil
}

// decodeSigned splits a cleartext-signed document without verifying the signatures.
func decodeSigned(document []byte) (block *clearsign.Block, text string, err error) {
	block, rest := clearsign.Decode(document)
	switch {
	case block == nil:
		return nil, "", errors.New("not signed; wanted text after a PGP SIGNED MESSAGE line")
	case !bytes.HasPrefix(document, []byte("-----BEGIN PGP SIGNED MESSAGE-----")), len(bytes.TrimSpace(rest)) > 0:
		return nil, "", errors.New("text outside the signed part")
	}
	// Bytes is what the signature covers, with the line ends of OpenPGP.
	return block, string(bytes.ReplaceAll(block.Bytes, []byte("\r\n"), []byte("\n"))), nil
}
