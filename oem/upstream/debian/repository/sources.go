package repository

import (
	"bytes"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
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

// Environment variables that override the host's apt configuration.
const (
	EnvMain         = "DEBIAN_MIRROR"            // address of the archive
	EnvSecurity     = "DEBIAN_SECURITY_MIRROR"   // address of the security archive
	EnvKeyring      = "DEBIAN_KEYRING"           // path of the keyring
	EnvAllowExpired = "DEBIAN_CHECK_VALID_UNTIL" // "no" accepts expired indexes
)

// debianSuites distinguish Debian's sources from those of other vendors.
// Hosts of a suite that is missing here have to set the variables above.
var debianSuites = []string{
	"bullseye", "bookworm", "trixie", "forky", "duke", "sid",
	"oldoldstable", "oldstable", "stable", "testing", "unstable",
}

// archiveKeys are the keys that sign Debian 12 and 13 and what comes after them: those of the archive, of security, and of stable releases,
// each without the signatures of people. From the package debian-archive-keyring 2023.3+deb12u2; ftp-master.debian.org/keys.html lists them.
//
//go:embed debian-archive.gpg
var archiveKeys []byte

// HostSources reads the apt configuration below dir, usually /etc/apt (sources.list(5)), and the variables above
// through getenv, usually os.Getenv.
//
// The Debian archive is the first source with the component main of a Debian suite, an address that ends in /debian,
// and no other vendor's keyring; the address of the security archive ends in /debian-security.
func HostSources(dir string, getenv func(string) string) (Sources, error) {
	entries, err := aptSources(dir)
	if err != nil {
		return Sources{}, err
	}
	found := pick(entries)
	if notChecked, err := validUntilUnchecked(dir); err != nil {
		return Sources{}, err
	} else if notChecked || getenv(EnvAllowExpired) == "no" {
		found.AllowExpired = true
	}
	found.Main = strings.TrimSuffix(cmp.Or(getenv(EnvMain), found.Main), "/")
	found.Security = strings.TrimSuffix(cmp.Or(getenv(EnvSecurity), found.Security), "/")
	found.Keyring = getenv(EnvKeyring)
	return found, found.check(dir)
}

// check reports missing settings.
func (s Sources) check(dir string) error {
	var missing []error
	if s.Main == "" {
		missing = append(missing, fmt.Errorf("no source of the Debian archive in %s: set %s to an address such as https://mirror.example.org/debian", dir, EnvMain))
	}
	if s.Security == "" {
		missing = append(missing, fmt.Errorf("no source of the Debian security archive in %s: set %s to an address such as https://mirror.example.org/debian-security", dir, EnvSecurity))
	}
	return errors.Join(missing...)
}

// aptSource is one address of an apt source.
type aptSource struct {
	uri        string
	suites     []string
	components []string
	signedBy   string // path of a keyring, or empty
	expired    bool   // Check-Valid-Until is off
}

// isFor tells whether the source is Debian's archive with an address that ends in /base.
func (s aptSource) isFor(base string) bool {
	if path.Base(strings.TrimSuffix(s.uri, "/")) != base || !slices.ContainsFunc(s.suites, isDebianSuite) {
		return false
	}
	if !slices.Contains(s.components, "main") && !slices.Contains(s.components, "updates/main") {
		return false
	}
	return s.signedBy == "" || strings.HasPrefix(path.Base(s.signedBy), "debian-archive-")
}

// isDebianSuite accepts names such as "bookworm", "bookworm-updates" and "bookworm/updates".
func isDebianSuite(suite string) bool {
	if end := strings.IndexAny(suite, "-/"); end >= 0 {
		suite = suite[:end]
	}
	return slices.Contains(debianSuites, suite)
}

// pick finds the two archives. The main archive's settings apply to both.
func pick(entries []aptSource) Sources {
	var found Sources
	if i := slices.IndexFunc(entries, func(s aptSource) bool { return s.isFor("debian") }); i >= 0 {
		found = Sources{Main: entries[i].uri, AllowExpired: entries[i].expired}
	}
	if i := slices.IndexFunc(entries, func(s aptSource) bool { return s.isFor("debian-security") }); i >= 0 {
		found.Security = entries[i].uri
	}
	return found
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
