package repository

import (
	"bytes"
	"cmp"
	_ "embed"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/upstream/signature"
)

// Sources are the addresses and the keyring of a Debian archive.
type Sources struct {
	Main     string // address of the archive, with dists/ and pool/ below
	Security string // address of the security archive
	Keyring  string // file with the OpenPGP keys that may sign, binary or armored; Debian's own when empty
	// AllowExpired accepts indexes past their Valid-Until, for mirrors frozen at a date.
	// An attacker on the network may then withhold updates, but not serve anything older than was seen before.
	AllowExpired bool
}

// Addresses of Debian's archives, whichever distribution the host has. What they serve is signed.
const (
	Main     = "http://deb.debian.org/debian"
	Security = "http://deb.debian.org/debian-security"
)

// archiveKeys are the keys that sign Debian 12 and 13 and what comes after them: those of the archive, of security, and of stable releases,
// each without the signatures of people. From the package debian-archive-keyring 2023.3+deb12u2; ftp-master.debian.org/keys.html lists them.
//
//go:embed debian-archive.gpg
var archiveKeys []byte

// Environment variables that choose another archive.
const (
	EnvMain         = "DEBIAN_MIRROR"            // address of the archive
	EnvSecurity     = "DEBIAN_SECURITY_MIRROR"   // address of the security archive
	EnvKeyring      = "DEBIAN_KEYRING"           // path of the keyring
	EnvAllowExpired = "DEBIAN_CHECK_VALID_UNTIL" // "no" accepts expired indexes
)

// Configured returns Debian's archive, or what the variables above choose through getenv, usually os.Getenv. Of the host's apt configuration
// below dir, usually /etc/apt, only one thing counts: whether apt accepts expired indexes on this host (Acquire::Check-Valid-Until, apt.conf(5)).
func Configured(dir string, getenv func(string) string) (Sources, error) {
	unchecked, err := validUntilUnchecked(dir)
	return Sources{
		Main:         strings.TrimSuffix(cmp.Or(getenv(EnvMain), Main), "/"),
		Security:     strings.TrimSuffix(cmp.Or(getenv(EnvSecurity), Security), "/"),
		Keyring:      getenv(EnvKeyring),
		AllowExpired: unchecked || getenv(EnvAllowExpired) == "no",
	}, err
}

// checkOff is the setting that accepts expired indexes from all sources.
var checkOff = regexp.MustCompile(`(?im)^\s*Acquire::Check-Valid-Until\s+"?(no|false|without|off|disable|0)"?\s*;`)

func validUntilUnchecked(dir string) (bool, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "apt.conf.d", "*"))
	if err != nil {
		return false, err
	}
	for _, path := range append(paths, filepath.Join(dir, "apt.conf")) {
		content, err := os.ReadFile(path)
		if err == nil && checkOff.Match(content) {
			return true, nil
		}
	}
	return false, nil
}

// keys returns the keys that may sign.
func (a *Archive) keys() (openpgp.EntityList, error) {
	if a.Keyring != "" {
		return signature.ReadKeyring(a.Keyring)
	}
	return openpgp.ReadKeyRing(bytes.NewReader(archiveKeys))
}

// keyringFile returns a file with the keys that may sign, for programs that use apt.
func (a *Archive) keyringFile() (string, error) {
	if a.Keyring != "" {
		return filepath.Abs(a.Keyring)
	}
	path, err := filepath.Abs(filepath.Join(a.CacheDir, "debian-archive-"+digest.Of(archiveKeys).Short()+".gpg"))
	if err != nil {
		return "", err
	}
	if content, err := os.ReadFile(path); err == nil && bytes.Equal(content, archiveKeys) {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, atomicfile.WriteBytes(path, 0o644, archiveKeys)
}
