package ddi

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// record is what the signature partition holds, as JSON padded with NUL.
// Keys are in systemd-repart's order.
type record struct {
	RootHash    digest.SHA256 `json:"rootHash"`
	Certificate digest.SHA256 `json:"certificateFingerprint,omitzero"` // of its DER
	Signature   []byte        `json:"signature"`                       // PKCS #7, DER
}

// signedText is what the signature is over.
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

// parseRecord reads a signature partition. Other keys than ours are left alone, as the specification wants it.
func parseRecord(content []byte) (record, error) {
	text, padding, _ := bytes.Cut(content, []byte{0})
	for i, b := range padding {
		if b != 0 {
			return record{}, fmt.Errorf("byte %d behind the JSON is 0x%02x; wanted 0", len(text)+1+i, b)
		}
	}
	// Keys of structs are matched in any case, keys of maps are not.
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return record{}, fmt.Errorf("is no JSON object: %w", err)
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

// verify checks that one of the certificates vouches for the root hash. As systemd does, it trusts the certificates
// as they are, whatever their dates and issuers say, and takes none from the image.
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
	return fmt.Errorf("is by the certificate %v of %v, which is not one of the %d that are trusted", signed.Certificate.Serial, signed.issuer(), len(trusted))
}
