package sign

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	minBits = 2048
	maxFile = 64 << 10 // bytes; a key of 16384 bits has 13 KB
)

// found is the content of a PEM file.
type found struct {
	private     *rsa.PrivateKey
	public      *rsa.PublicKey
	certificate *x509.Certificate
}

// readPEM reads all blocks of a PEM file, each kind at most once.
func readPEM(path string) (found, error) {
	content, mode, err := readSmall(path)
	if err != nil {
		return found{}, err
	}
	defer clear(content)
	var all found
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") && mode&0o077 != 0 {
			return found{}, fmt.Errorf("%s holds a private key that other users can read (mode %04o); run chmod 600 %s", path, mode, path)
		}
		if err := all.add(block); err != nil {
			return found{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	if all == (found{}) {
		return found{}, fmt.Errorf("%s: no PEM block; wanted an RSA key or a certificate", path)
	}
	return all, nil
}

// readSmall returns the mode of the opened file, not of a file that later replaces it.
func readSmall(path string) (content []byte, mode os.FileMode, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	content, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("%s is longer than %d B; wanted a PEM file", path, maxFile)
	}
	return content, info.Mode().Perm(), err
}

func (f *found) add(block *pem.Block) error {
	// Go's parse errors may quote their input, so none is passed on for private keys.
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return errors.New("its RSA PRIVATE KEY is no RSA key in PKCS #1; encrypted keys are not read: use openssl pkey to decrypt it, or keep it in a token")
		}
		return once(&f.private, key, block.Type)
	case "PRIVATE KEY":
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		key, isRSA := parsed.(*rsa.PrivateKey)
		if err != nil || !isRSA {
			return fmt.Errorf("its PRIVATE KEY is no RSA key in PKCS #8 (%T); wanted RSA of at least %d bits", parsed, minBits)
		}
		return once(&f.private, key, block.Type)
	case "PUBLIC KEY":
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		key, isRSA := parsed.(*rsa.PublicKey)
		if err != nil || !isRSA {
			return fmt.Errorf("its PUBLIC KEY is no RSA key (%T); wanted RSA of at least %d bits", parsed, minBits)
		}
		return once(&f.public, key, block.Type)
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("its CERTIFICATE: %w", err)
		}
		return once(&f.certificate, certificate, block.Type)
	case "ENCRYPTED PRIVATE KEY":
		return errors.New("its private key is encrypted; decrypt it with openssl pkey, or keep it in a token and sign offline")
	}
	return fmt.Errorf("it has a PEM block %q; wanted PRIVATE KEY, RSA PRIVATE KEY, PUBLIC KEY or CERTIFICATE", block.Type)
}

func once[T any](to **T, value *T, kind string) error {
	if *to != nil {
		return fmt.Errorf("a second %s; wanted one", kind)
	}
	*to = value
	return nil
}

// check returns the public key, which everything in the files must share.
func (f found) check(files Files) (*rsa.PublicKey, error) {
	public := f.public
	if f.private != nil {
		public = &f.private.PublicKey
	}
	if f.certificate != nil {
		certified, isRSA := f.certificate.PublicKey.(*rsa.PublicKey)
		if !isRSA {
			return nil, fmt.Errorf("the certificate is for %T; wanted RSA of at least %d bits", f.certificate.PublicKey, minBits)
		}
		if public != nil && !public.Equal(certified) {
			return nil, fmt.Errorf("the certificate %s is for another key", files.Certificate)
		}
		public = certified
	}
	if f.public != nil && !public.Equal(f.public) {
		return nil, errors.New("its public key belongs to another private key")
	}
	if bits := public.N.BitLen(); bits < minBits {
		return nil, fmt.Errorf("an RSA key of %d bits; wanted at least %d", bits, minBits)
	}
	return public, nil
}

// ReadCertificate reads a certificate with an RSA public key from a PEM file.
func ReadCertificate(path string) (*x509.Certificate, error) {
	f, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	if f.certificate == nil {
		return nil, fmt.Errorf("%s: no certificate; wanted a PEM file with one", path)
	}
	return f.certificate, nil
}

// ReadPublic reads an RSA public key from a PEM file that holds it, or its certificate.
func ReadPublic(path string) (*rsa.PublicKey, error) {
	f, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	public, err := f.check(Files{Certificate: path})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return public, nil
}
