// Package sign makes the signatures of a release: RSA PKCS #1 v1.5 over SHA-256 digests.
//
// In: a key, and a digest. Out: the signature, always the same for the same key and digest. There are four kinds of keys:
//   - a private key in a PEM file that only its owner can read;
//   - a private key in a PKCS #11 token, by its address (see tokenScheme);
//   - a PEM file with a public key or certificate whose private half is elsewhere, such as on another machine. Signatures come
//     from a directory; missing ones are listed in one signing request (see Signer.Finish);
//   - without either, a development key that is made once and kept in the cache. Nobody should trust it.
//
// Refused: other algorithms than RSA, keys below 2048 bits, encrypted keys, private keys that other users can read,
// certificates of another key, and signatures that do not verify.
// Printing a Signer, errors and logs never reveal a private key.
package sign

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// Files are the files of a signing key.
type Files struct {
	Key         string // PEM: an RSA private key, or its public half or certificate; or the address of a key in a PKCS #11 token; the development key when empty
	Certificate string // PEM, of Key; for signed images, unless Key has it as well
	Signatures  string // the directory of signatures that are made elsewhere, where Key has no private key
	Cache       string // an existing directory that keeps the development key
}

// Signer signs with one key. Several goroutines may use it.
type Signer struct {
	public      *rsa.PublicKey
	certificate *x509.Certificate
	development bool
	offline     *desk // nil when the private key is here
	// sign is a function, so that printing a Signer does not reveal the private key.
	sign func(ctx context.Context, name string, d digest.SHA256) ([]byte, error)
}

// Open reads the key. Nothing is signed or requested yet.
func Open(f Files) (*Signer, error) {
	if f.Key == "" {
		return development(f.Cache)
	}
	if strings.HasPrefix(f.Key, tokenScheme) {
		return openInToken(f)
	}
	found, err := readPEM(f.Key)
	if err != nil {
		return nil, err
	}
	if f.Certificate != "" {
		if found.certificate, err = ReadCertificate(f.Certificate); err != nil {
			return nil, err
		}
	}
	public, err := found.check(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Key, err)
	}
	isDevelopment, err := isDevelopment(f.Cache, public)
	if err != nil {
		return nil, err
	}
	if found.private != nil {
		s, err := withKey(found, "OEM extension images")
		if err == nil {
			s.development = isDevelopment
		}
		return s, err
	}
	if f.Signatures == "" {
		return nil, fmt.Errorf("%s has no private key, so signatures must be made elsewhere; set the directory for them", f.Key)
	}
	offline, err := newDesk(f.Signatures, public)
	if err != nil {
		return nil, err
	}
	return &Signer{public: public, certificate: found.certificate, development: isDevelopment, offline: offline, sign: offline.look}, nil
}

// openInToken opens a key that does not leave its token.
func openInToken(f Files) (*Signer, error) {
	var certificate *x509.Certificate
	if f.Certificate != "" {
		var err error
		if certificate, err = ReadCertificate(f.Certificate); err != nil {
			return nil, err
		}
	}
	t, err := openToken(f.Key, certificate)
	if err != nil {
		return nil, err
	}
	return &Signer{public: t.public, certificate: certificate, sign: t.sign}, nil
}

// withKey signs at once. What has no certificate gets one with this name.
func withKey(f found, name string) (*Signer, error) {
	private, certificate := f.private, f.certificate
	if certificate == nil {
		made, err := selfSigned(private, name)
		if err != nil {
			return nil, err
		}
		certificate = made
	}
	return &Signer{
		public:      &private.PublicKey,
		certificate: certificate,
		sign: func(_ context.Context, _ string, d digest.SHA256) ([]byte, error) {
			return rsa.SignPKCS1v15(nil, private, crypto.SHA256, d[:])
		},
	}, nil
}

// Public returns the key that verifies the signatures.
func (s *Signer) Public() *rsa.PublicKey { return s.public }

// Certificate returns the certificate of the key. One that came without has a self-signed one, always the same;
// only where the private key is elsewhere it may be nil.
func (s *Signer) Certificate() *x509.Certificate { return s.certificate }

// Development tells that this is the key that runs without a key use, also where a file has it.
func (s *Signer) Development() bool { return s.development }

// Sign returns the signature of a digest. The name describes it to the signer.
// If the private key is elsewhere and the signature does not exist yet, the error is a *MissingError.
func (s *Signer) Sign(ctx context.Context, name string, d digest.SHA256) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	signature, err := s.sign(ctx, name, d)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", name, err)
	}
	return signature, nil
}

// Finish ends a run. If signatures are missing, it writes one request for all of them to the directory of signatures and
// returns a *RequestError.
func (s *Signer) Finish() error {
	if s.offline == nil {
		return nil
	}
	return s.offline.request()
}

// Verify checks a signature.
func Verify(public *rsa.PublicKey, d digest.SHA256, signature []byte) error {
	if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, d[:], signature); err != nil {
		return fmt.Errorf("bad signature of %d B for sha256 %v and this key of %d bits", len(signature), d, public.N.BitLen())
	}
	return nil
}

// EncodePublic returns a public key as the clients of updates read it: PEM of a SubjectPublicKeyInfo.
func EncodePublic(public *rsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
}

// EncodeCertificate returns a certificate as systemd reads it from verity.d: PEM.
func EncodeCertificate(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}
