package setup

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"

	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// ImageKind is the format of an extension image: bare or signed.
type ImageKind string

// The kinds. Flatcar's own images are signed since it has systemd 258.
const (
	BareImages   ImageKind = "bare"   // a file system
	SignedImages ImageKind = "signed" // a file system, its dm-verity hashes and their signature (DDI)
)

// UnmarshalText refuses other kinds.
func (k *ImageKind) UnmarshalText(text []byte) error {
	switch *k = ImageKind(text); *k {
	case BareImages, SignedImages:
		return nil
	}
	return fmt.Errorf("wanted %s or %s", BareImages, SignedImages)
}

// Keys are the keys of a release.
type Keys struct {
	Update  *sign.Signer   // payloads
	Trusted *rsa.PublicKey // by which machines verify updates; nil when the profile names none
	Boot    *sign.Signer   // kernels for Secure Boot; nil when they are not signed
	Image   *sign.Signer   // extension images; nil when they are bare
	Measure *sign.Signer   // stand-in for Image while images are measured
	Stub    *sign.Signer   // images that systemd-stub passes to an initramfs, which merges only signed ones
}

// OpenKeys opens the keys that do not depend on the base. For keys without a file the cache has a development key.
func OpenKeys(o Options, p *profiles.Profile, cacheDir string) (*Keys, error) {
	k := &Keys{}
	var err error
	if o.SecureBootKey != "" {
		if k.Boot, err = sign.Open(o.bootKey()); err != nil {
			return nil, fmt.Errorf("SECURE_BOOT_KEY, SECURE_BOOT_CERTIFICATE, SECURE_BOOT_SIGNATURES: %w", err)
		}
	}
	files := o.updateKey()
	files.Cache = cacheDir
	if k.Update, err = sign.Open(files); err != nil {
		return nil, fmt.Errorf("UPDATE_KEY, UPDATE_SIGNATURES: %w", err)
	}
	k.Trusted, err = trustedKey(p)
	return k, err
}

// trustedKey reads the profile's key, by which machines verify updates.
func trustedKey(p *profiles.Profile) (*rsa.PublicKey, error) {
	u := p.Update
	if u == nil || u.Key.Value == "" {
		return nil, nil
	}
	key, err := sign.ReadPublic(p.Path(u.Key.Value))
	if err != nil {
		return nil, fmt.Errorf("%s:%d: update: %w", p.File, u.Key.Line, err)
	}
	return key, nil
}

// ForImages adds the keys that sign extension images, if images are signed.
func (k Keys) ForImages(o Options, signed bool, cacheDir string, log *slog.Logger) (*Keys, error) {
	files := o.imageKey()
	files.Cache = cacheDir
	var err error
	k.Stub, err = sign.Open(files)
	if err == nil && k.Stub.Certificate() == nil {
		err = errors.New("no certificate for the key, and machines need one to verify images; set SYSEXT_CERTIFICATE")
	}
	if err != nil {
		return nil, fmt.Errorf("SYSEXT_KEY, SYSEXT_CERTIFICATE, SYSEXT_SIGNATURES: %w", err)
	}
	if !signed {
		return &k, nil
	}
	k.Image = k.Stub
	if k.Image.Development() {
		log.Warn("no SYSEXT_KEY: images are signed with the cache's development key")
	}
	// Images are measured before signatures by an offline key exist.
	k.Measure, err = sign.Open(sign.Files{Cache: cacheDir})
	return &k, err
}

// CheckTrusted refuses a release whose machines would reject its own updates.
func (k *Keys) CheckTrusted(p *profiles.Profile) error {
	if k.Trusted == nil || k.Trusted.Equal(k.Update.Public()) {
		return nil
	}
	u := p.Update
	if k.Update.Development() {
		return fmt.Errorf("%s:%d: update: machines would trust %s, and without UPDATE_KEY payloads are signed with a development key; set UPDATE_KEY to its private half",
			p.File, u.Key.Line, u.Key)
	}
	return fmt.Errorf("%s:%d: update: %s is not the public half of UPDATE_KEY, so machines would refuse the release's own payloads; change one of the two",
		p.File, u.Key.Line, u.Key)
}
