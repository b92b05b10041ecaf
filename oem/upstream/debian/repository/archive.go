// Package repository finds and verifies packages of a Debian archive, without apt.
//
// The chain of trust is the archive's own (apt-secure(8)): an OpenPGP key of the keyring signs InRelease,
// InRelease holds the digests of the package indexes, an index holds the digests of the packages.
//
//	Sources   the archive's address and keyring, from the host's apt configuration
//	Archive   → Release (verified, cheap) → debian.Packages (loaded) → debian.Closure (a tool's dependencies that the base lacks)
//	Archive   → Deb (one verified .deb) → debian.Unpack (its files)
//
// Formats: https://wiki.debian.org/DebianRepository/Format.
package repository

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

// Archive is a Debian archive and its security archive.
type Archive struct {
	Sources
	Store *fetch.Store
	Log   *slog.Logger
	// Floors are dates below which indexes are refused. Empty: only older ones than those that were seen before are.
	Floors Floors
	// CacheDir is where parsed indexes are kept (25 MB for each suite and architecture). Empty: they are parsed each time.
	CacheDir string
	// Now is the time at which signatures and expiry dates are judged. Zero: the present.
	Now time.Time
}

func (a *Archive) now() time.Time {
	if a.Now.IsZero() {
		return time.Now()
	}
	return a.Now
}

// address returns the address of the archive of a pocket, such as trixie or trixie-security.
func (a *Archive) address(pocket string) string {
	if strings.HasSuffix(pocket, securitySuffix) {
		return a.Security
	}
	return a.Main
}

// Deb returns the path of the package's verified .deb in the store.
func (a *Archive) Deb(ctx context.Context, p debian.Package) (string, error) {
	if !fs.ValidPath(p.Filename) {
		return "", fmt.Errorf("package %s %s: the file name %q is not a path below the archive", p.Name, p.Version, p.Filename)
	}
	path, err := a.Store.File(ctx, fetch.Want{
		URLs:   []string{a.address(p.Pocket) + "/" + p.Filename},
		SHA256: p.SHA256,
		Size:   p.Size,
	})
	switch {
	case errors.Is(err, fetch.ErrNotFound):
		return "", fmt.Errorf("package %s %s (%s) is no longer in the archive, most likely because a newer version replaced it; "+
			"resolve the packages again: %w", p.Name, p.Version, p.Pocket, err)
	case err != nil:
		return "", fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
	}
	return path, nil
}
