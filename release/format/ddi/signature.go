package ddi

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// record is the content of the signature partition: JSON padded with NUL, its keys in systemd-repart's order.
type record struct {
	RootHash    digest.SHA256 `json:"rootHash"`
	Certificate digest.SHA256 `json:"certificateFingerprint,omitzero"` // of its DER
	Signature   []byte        `json:"signature"`                       // PKCS #7, DER
}

// signedText returns the signed content.
func signedText(root digest.SHA256) digest.SHA256 { return digest.Of([]byte(root.String())) }

// makeRecord signs a root hash and returns the content of the signature partition.
func makeRecord(ctx context.Context, name string, root digest.SHA256, signer Signer) ([]byte, error) {
	signature, err := signer.Sign(ctx, name+": root hash "+root.String(), signedText(root))
	if err != nil {
		return nil, err
	}
	certificate := signer.Certificate()
	pkcs7, err := encodePKCS7(certificate, signature)
	if err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(record{root, digest.Of(certificate.Raw), pkcs7})
	if err != nil {
		return nil, err
	}
	if len(encoded) > int(signatureSize) {
		return nil, fmt.Errorf("%s: signature and certificate take %d B; the partition for them has %d B", name, len(encoded), signatureSize)
	}
	padded := make([]byte, signatureSize)
	copy(padded, encoded)
	return padded, nil
}

// parseRecord reads a signature partition. Unknown keys are ignored, as the specification wants.
func parseRecord(content []byte) (record, error) {
	text, padding, _ := bytes.Cut(content, []byte{0})
	for i, b := range padding {
		if b != 0 {
			return record{}, fmt.Errorf("byte %d behind the JSON is 0x%02x; wanted 0", len(text)+1+i, b)
		}
	}
	// A map, because struct keys match case-insensitively.
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return record{}, fmt.Errorf("is not a JSON object: %w", err)
	}
	var r record
	for key, to := range map[string]any{"rootHash": &r.RootHash, "certificateFingerprint": &r.Certificate, "signature": &r.Signature} {
		if value, there := fields[key]; there {
			if err := json.Unmarshal(value, to); err != nil {
				return record{}, fmt.Errorf("%s: %w", key, err)
			}
		}
	}
	if r.RootHash.IsZero() || len(r.Signature) == 0 {
		return record{}, fmt.Errorf("has no rootHash or no signature")
	}
	return r, nil
}

// verify checks the root hash's signature with the trusted certificates. As in systemd, their dates and issuers do not matter,
// and certificates in the image are not used.
func (r record) verify(trusted []*x509.Certificate) error {
	signed, err := parsePKCS7(r.Signature)
	if err != nil {
		return fmt.Errorf("PKCS #7: %w", err)
	}
	for _, certificate := range trusted {
		if signed.isBy(certificate) {
			return signed.verify(certificate, signedText(r.RootHash))
		}
	}
	return fmt.Errorf("is by the certificate %v of %v, which is not one of the %d trusted ones", signed.Certificate.Serial, signed.issuer(), len(trusted))
}
