package flatcar

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/flatcar/oem-sysext/oem/upstream/signature"
)

// signingKey is the key that Flatcar's releases are signed with, and its subkeys since March 2023
// (https://www.flatcar.org/security/image-signing-key/; flatcar/init, bin/flatcar-install).
//
//go:embed signing-key.asc
var signingKey []byte

// Fingerprint is the primary key's, of "Flatcar Buildbot (Official Builds)". Subkeys change every other year.
const Fingerprint = "F88CFEDEFF29A5B4D9523864E25D9AED0593B34A"

// EnvKey names a file with the key, for subkeys that are not in the tree.
const EnvKey = "FLATCAR_KEY"

// Keys returns the key that releases must be signed with: that of the tree, or that in a file with the same fingerprint.
func Keys(path string) (openpgp.EntityList, error) { return readKeys(path, Fingerprint) }

func readKeys(path, fingerprint string) (openpgp.EntityList, error) {
	keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(signingKey))
	if path != "" {
		keys, err = signature.ReadKeyring(path)
	}
	if err != nil {
		return nil, err
	}
	var found []string
	for _, key := range keys {
		found = append(found, strings.ToUpper(hex.EncodeToString(key.PrimaryKey.Fingerprint)))
	}
	if len(found) != 1 || found[0] != fingerprint {
		return nil, fmt.Errorf("%s: the file has the keys %v; wanted %s alone", EnvKey, found, fingerprint)
	}
	return keys, nil
}
