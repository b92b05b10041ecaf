package payload

import (
	"context"
	"crypto/rsa"
	"fmt"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// signatureVersion is the only version of signatures that update_engine checks.
const signatureVersion = 2

// Signer makes signatures: RSA PKCS #1 v1.5 over a SHA-256 digest.
type Signer interface {
	Public() *rsa.PublicKey
	// Sign returns the signature of a digest. The name is shown to the signer.
	Sign(ctx context.Context, name string, d digest.SHA256) ([]byte, error)
}

// signaturesSize returns the size of the message with the signatures, in bytes.
func signaturesSize(key *rsa.PublicKey) int { return len(encodeSignatures(make([]byte, key.Size()))) }

// Signatures returns the message with the signature of a body that Write wrote for the signer's key. It belongs right behind it.
func Signatures(ctx context.Context, s Signer, name string, body digest.SHA256) ([]byte, error) {
	signature, err := s.Sign(ctx, name, body)
	if err != nil {
		return nil, err
	}
	if len(signature) != s.Public().Size() {
		return nil, fmt.Errorf("signature of %s has %d B; wanted %d B, as the key has", name, len(signature), s.Public().Size())
	}
	return encodeSignatures(signature), nil
}
