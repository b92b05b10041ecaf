package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

// The pockets of a suite: fixes between point releases, and security fixes, which have a separate archive.
const (
	updatesSuffix  = "-updates"
	securitySuffix = "-security"
)

// Release is the verified state of a suite and its pockets for one architecture.
type Release struct {
	Suite, Arch string
	Date        time.Time // of the newest pocket
	// Fingerprint changes exactly when an index does, so it is a cache key for results computed from Packages.
	Fingerprint digest.SHA256

	archive *Archive
	keyring string // a file with the keys that may sign
	pockets []pocket
}

// pocket is one verified InRelease and the package index that it names.
type pocket struct {
	name  string
	date  time.Time
	index fetch.Want
}

// Release downloads and verifies the InRelease files of a suite, such as trixie, and its pockets trixie-updates
// and trixie-security, for an architecture by Debian's name, such as amd64 or arm64.
// If nothing changed, it takes three conditional requests.
//
// Refused are files that no key of the keyring signed, that are for another suite or expired,
// or older than one accepted from the same address before, or than the archive's floor.
// Only unreleased suites may lack pockets.
func (a *Archive) Release(ctx context.Context, suite, arch string) (*Release, error) {
	if !debian.ValidName(suite) || !debian.ValidName(arch) {
		return nil, fmt.Errorf("suite %q, architecture %q; wanted names such as trixie and amd64", suite, arch)
	}
	keys, err := a.keys()
	if err != nil {
		return nil, err
	}
	keyring, err := a.keyringFile()
	if err != nil {
		return nil, err
	}
	names := []string{suite, suite + updatesSuffix, suite + securitySuffix}
	found := make([]*inRelease, len(names))
	failed := make([]error, len(names))
	var group sync.WaitGroup
	for i, name := range names {
		group.Go(func() { found[i], failed[i] = a.inRelease(ctx, name, keys) })
	}
	group.Wait()
	release := &Release{Suite: suite, Arch: arch, archive: a, keyring: keyring}
	for i, name := range names {
		if failed[i] != nil && i > 0 && errors.Is(failed[i], fetch.ErrNotFound) && found[0].isUnreleased() {
			a.Log.Info("the suite does not have this pocket yet", "suite", suite, "pocket", name)
			continue
		}
		if failed[i] != nil {
			return nil, failed[i]
		}
		if err := release.add(name, found[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	release.Fingerprint, err = release.fingerprint()
	return release, err
}

// SuiteDate is the date of the suite itself; updates between point releases do not change it.
func (r *Release) SuiteDate() time.Time { return r.pockets[0].date }

func (r *Release) fingerprint() (digest.SHA256, error) {
	inputs := []any{r.Suite, r.Arch}
	for _, p := range r.pockets {
		inputs = append(inputs, p.name, p.index.SHA256)
	}
	return digest.OfInputs(inputs)
}

// add adds one pocket.
func (r *Release) add(name string, doc *inRelease) error {
	if !slices.Contains(doc.architectures, r.Arch) {
		return fmt.Errorf("has no architecture %q; it has %s", r.Arch, strings.Join(doc.architectures, ", "))
	}
	index, err := doc.index(r.archive.address(name)+"/dists/"+name, "main/binary-"+r.Arch)
	if err != nil {
		return err
	}
	r.pockets = append(r.pockets, pocket{name: name, date: doc.date, index: index})
	if doc.date.After(r.Date) {
		r.Date = doc.date
	}
	return nil
}

// inRelease downloads and verifies the InRelease of one pocket.
func (a *Archive) inRelease(ctx context.Context, name string, keys openpgp.EntityList) (*inRelease, error) {
	doc, err := a.Store.Latest(ctx, a.address(name)+"/dists/"+name+"/InRelease")
	if err != nil {
		return nil, fmt.Errorf("index of %s: %w", name, err)
	}
	parsed, err := a.verify(name, doc, keys)
	if older := (*olderError)(nil); errors.As(err, &older) {
		// Mirrors are several servers, which are not updated at once.
		a.Log.Warn("the mirror has an older index than one that was seen, which is used", "pocket", name, "difference", older)
		doc.Content = doc.Kept
		parsed, err = a.verify(name, doc, keys)
	}
	if err != nil {
		return nil, fmt.Errorf("index of %s at %s: %w", name, fetch.Redact(a.address(name)), err)
	}
	return parsed, doc.Keep()
}

// verify checks signature, suite and dates.
func (a *Archive) verify(name string, doc *fetch.Document, keys openpgp.EntityList) (*inRelease, error) {
	text, err := openSigned(doc.Content, keys, a.now())
	if err != nil {
		return nil, err
	}
	parsed, err := parseInRelease(text)
	if err != nil {
		return nil, err
	}
	if name != parsed.suite && name != parsed.codename {
		return nil, fmt.Errorf("it is signed for the suite %q (%s): the mirror serves another suite at this address; correct the address", parsed.suite, parsed.codename)
	}
	if err := a.checkExpiry(name, parsed); err != nil {
		return nil, err
	}
	if err := a.checkFloor(name, parsed); err != nil {
		return nil, err
	}
	if err := checkReplay(doc, parsed); err != nil {
		return nil, err
	}
	return parsed, nil
}

func (a *Archive) checkExpiry(name string, doc *inRelease) error {
	if doc.validUntil.IsZero() || a.now().Before(doc.validUntil) {
		return nil
	}
	expired := doc.validUntil.Format(time.DateTime)
	if a.AllowExpired {
		a.Log.Warn("the index is expired; accepted by configuration", "pocket", name, "expired", expired)
		return nil
	}
	return fmt.Errorf("it expired at %s UTC: the mirror is stale, or someone replays an old index; try another mirror, check the clock, or set %s=no to accept it",
		expired, EnvAllowExpired)
}

// olderError says that a document is older than the kept copy.
type olderError struct{ date, kept time.Time }

func (e *olderError) Error() string {
	return fmt.Sprintf("it is of %s, older than the one of %s seen before", e.date.Format(time.DateTime), e.kept.Format(time.DateTime))
}

// checkReplay refuses a document older than the kept copy, whose signature was verified when it was kept, with an *olderError.
func checkReplay(doc *fetch.Document, parsed *inRelease) error {
	if doc.Kept == nil {
		return nil
	}
	_, text, err := decodeSigned(doc.Kept)
	if err != nil {
		return fmt.Errorf("kept copy: %w", err)
	}
	kept, err := parseInRelease(text)
	if err != nil {
		return fmt.Errorf("kept copy: %w", err)
	}
	if parsed.date.Before(kept.date) {
		return &olderError{parsed.date, kept.date}
	}
	return nil
}
