package sign

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"path/filepath"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// Where the key is in a cache.
const (
	developmentDir  = "development-key"
	developmentFile = "key.pem"
)

// isDevelopment tells whether a key is the cache's development key: nobody should trust that, whoever signs with it, and wherever.
func isDevelopment(cache string, public *rsa.PublicKey) (bool, error) {
	if cache == "" {
		return false, nil
	}
	found, err := readPEM(filepath.Join(cache, developmentDir, developmentFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("development key: %w", err)
	}
	return found.private != nil && found.private.PublicKey.Equal(public), nil
}

// development returns the cache's development key, and makes it if there is none.
func development(cache string) (*Signer, error) {
	dir := filepath.Join(cache, developmentDir)
	err := atomicfile.Dir(dir, func(temp string) error {
		private, err := rsa.GenerateKey(rand.Reader, minBits)
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			return err
		}
		encoded := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		return atomicfile.WriteBytes(filepath.Join(temp, developmentFile), 0o600, encoded)
	})
	if err != nil {
		return nil, fmt.Errorf("development key: %w", err)
	}
	found, err := readPEM(filepath.Join(dir, developmentFile))
	if err != nil {
		return nil, err
	}
	s, err := withKey(found, "development key: do not trust")
	if err != nil {
		return nil, err
	}
	s.development = true
	return s, nil
}

// selfSigned makes a certificate that depends on the key and the name only. systemd ignores the dates of certificates in
// verity.d, so they are as wide as possible.
func selfSigned(private *rsa.PrivateKey, name string) (*x509.Certificate, error) {
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return nil, err
	}
	// Signatures name their certificate by issuer and number, so two keys must not share both.
	serial := digest.Of(der)
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial[:16]),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Unix(0, 0).UTC(),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // "no expiry" (RFC 5280, 4.1.2.5)
		KeyUsage:     x509.KeyUsageDigitalSignature,
		// Required by the kernel's keyring and sbsign.
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	der, err = x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
