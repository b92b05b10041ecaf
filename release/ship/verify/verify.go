// Package verify checks a finished release as its consumers do.
//
// In: a release, in a directory or elsewhere, and public keys. Every file is read once, as a stream.
// Out: the files, and all faults by name: content that differs from SHA256SUMS, missing files, files without a digest, bad
// signatures of SHA256SUMS, a manifest that disagrees with the files, proofs about other files or with failures.
// An error means that the check could not be done, for example because a server did not answer.
//
// Without keys, a release is only known to be complete and undamaged, not authentic.
package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"aead.dev/minisign"
	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/upstream/signature"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sums"
)

// Names of the signatures of SHA256SUMS.
const (
	OpenPGPName   = sums.FileName + ".asc"
	SysupdateName = sums.FileName + ".gpg" // the same signature, under the name that systemd-sysupdate wants
	MinisignName  = sums.FileName + ".minisig"
)

// Files that proofs add to a release and to its sums.
const (
	ProofName          = "proof.json"
	RollbackProofName  = "proof-rollback.json"
	DowngradeProofName = "proof-downgrade.json"
	TamperProofName    = "proof-tamper.json"
	SoakProofName      = "proof-soak.json"
	FleetProofName     = "proof-fleet.json"
)

// Proofs lists the proofs with their titles.
var Proofs = []struct{ Name, Title string }{
	{ProofName, "Proof"},
	{RollbackProofName, "Proof of updating and rolling back"},
	{DowngradeProofName, "Proof of going back to an older release"},
	{TamperProofName, "Proof of noticing damage"},
	{SoakProofName, "Proof of refreshing again and again"},
	{FleetProofName, "Proof of updating machines that exist"},
}

// IsLater reports whether a file is added after the release is complete, such as a proof or a signature.
func IsLater(name string) bool {
	return IsProof(name) || name == OpenPGPName || name == SysupdateName || name == MinisignName
}

// IsProof reports whether a file of this name is a proof.
func IsProof(name string) bool {
	return slices.ContainsFunc(Proofs, func(p struct{ Name, Title string }) bool { return p.Name == name })
}

// MaxManifest is the maximum length of a manifest. One of twenty platforms has about 10 MB.
const MaxManifest = 256 << 20

// Source gives access to the files of a release.
type Source interface {
	Names(ctx context.Context) ([]string, error)
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// Keys are the trusted keys. Signatures of a kind without a key are not checked.
type Keys struct {
	OpenPGP  openpgp.EntityList
	Minisign *minisign.PublicKey
}

// Result is the result of a check.
type Result struct {
	Manifest *manifest.Manifest // nil if it is faulty
	Files    []manifest.File    // all existing files, by name
	Signed   []string           // names of the good signatures
	Faults   []string           // all faults
}

// Release reads and checks a release. read is called with the number of bytes read; it may be nil.
func Release(ctx context.Context, from Source, keys Keys, now time.Time, read io.Writer) (*Result, error) {
	c := &check{from: from, read: read, kept: map[string][]byte{}, named: map[string]bool{}, result: &Result{}}
	if err := c.readAll(ctx); err != nil {
		return nil, err
	}
	if c.there(sums.FileName) {
		c.sums()
		c.signatures(keys, now)
		c.manifest()
		c.proofs()
	} else {
		c.fault("%s is missing, so no other file can be verified", sums.FileName)
	}
	slices.Sort(c.result.Faults)
	return c.result, nil
}

type check struct {
	from   Source
	read   io.Writer
	kept   map[string][]byte // content of the files to parse
	named  map[string]bool   // files with a fault already
	result *Result
}

func (c *check) fault(format string, args ...any) {
	c.result.Faults = append(c.result.Faults, fmt.Sprintf(format, args...))
}

// faultOf adds a fault of a file, unless it has one already.
func (c *check) faultOf(name, format string, args ...any) {
	if !c.named[name] {
		c.named[name] = true
		c.fault("%s "+format, append([]any{name}, args...)...)
	}
}

func (c *check) there(name string) bool {
	return slices.ContainsFunc(c.result.Files, func(f manifest.File) bool { return f.Name == name })
}

// readAll reads every file once, and keeps the content of the few small ones to parse.
func (c *check) readAll(ctx context.Context) error {
	names, err := c.from.Names(ctx)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if err := c.readOne(ctx, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (c *check) readOne(ctx context.Context, name string) error {
	content, err := c.from.Open(ctx, name)
	if err != nil {
		return err
	}
	defer content.Close()
	keep := &capped{limit: limits[name]}
	if IsProof(name) {
		keep.limit = maxProof
	}
	seen := io.Writer(keep)
	if c.read != nil {
		seen = io.MultiWriter(keep, c.read)
	}
	sum, n, err := digest.OfReader(io.TeeReader(content, seen))
	if err != nil {
		return err
	}
	c.result.Files = append(c.result.Files, manifest.File{Name: name, Size: size.Bytes(n), SHA256: sum})
	if keep.over && keep.limit > 0 {
		c.fault("%s is longer than %d B", name, keep.limit)
	}
	c.kept[name] = keep.Bytes()
	return ctx.Err()
}

// limits returns the files to keep, with their maximum lengths.
var limits = map[string]int{
	sums.FileName: sums.MaxSize, OpenPGPName: signature.MaxLength, SysupdateName: signature.MaxLength, MinisignName: signature.MaxLength, manifest.FileName: MaxManifest,
}

// capped keeps what is written to it up to a limit.
type capped struct {
	bytes.Buffer
	limit int
	over  bool
}

func (c *capped) Write(p []byte) (int, error) {
	room := min(len(p), c.limit-c.Len())
	c.over = c.over || room < len(p)
	c.Buffer.Write(p[:room])
	return len(p), nil
}

// sums compares every file with SHA256SUMS.
func (c *check) sums() {
	listed, err := sums.Parse(c.kept[sums.FileName])
	if err != nil {
		c.fault("%v", err)
		return
	}
	for _, f := range c.result.Files {
		want, known := listed[f.Name]
		delete(listed, f.Name)
		switch f.Name {
		case sums.FileName, OpenPGPName, SysupdateName, MinisignName:
			continue
		}
		switch {
		case !known:
			c.faultOf(f.Name, "is not in %s, so it cannot be verified", sums.FileName)
		case want != f.SHA256:
			c.faultOf(f.Name, "has sha256 %v; wanted %v", f.SHA256, want)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		c.faultOf(name, "is missing")
	}
}

// signatures checks the signatures of each given key. A missing one is a fault.
func (c *check) signatures(keys Keys, now time.Time) {
	signed := func(name string, wanted bool, check func(content *bytes.Reader, signature []byte) error) {
		if !wanted {
			return
		}
		if !c.there(name) {
			c.fault("%s is missing, but a key for it was given", name)
			return
		}
		if err := check(bytes.NewReader(c.kept[sums.FileName]), c.kept[name]); err != nil {
			c.fault("%s: %v", name, err)
			return
		}
		c.result.Signed = append(c.result.Signed, name)
	}
	for _, name := range []string{OpenPGPName, SysupdateName} {
		signed(name, len(keys.OpenPGP) > 0, func(content *bytes.Reader, sig []byte) error {
			return signature.OpenPGPThen(keys.OpenPGP, content, sig, now)
		})
	}
	signed(MinisignName, keys.Minisign != nil, func(content *bytes.Reader, sig []byte) error {
		return signature.Minisign(*keys.Minisign, content, sig)
	})
}

// manifest compares every file with the manifest.
func (c *check) manifest() {
	if !c.there(manifest.FileName) {
		c.faultOf(manifest.FileName, "is missing")
		return
	}
	m, err := manifest.Decode(c.kept[manifest.FileName])
	if err != nil {
		c.fault("%s: %v", manifest.FileName, err)
		return
	}
	c.result.Manifest = m
	for _, want := range m.Files {
		at := slices.IndexFunc(c.result.Files, func(f manifest.File) bool { return f.Name == want.Name })
		switch {
		case at < 0:
			c.faultOf(want.Name, "is missing, but in the manifest")
		case c.result.Files[at] != want:
			got := c.result.Files[at]
			c.faultOf(want.Name, "has %d B and sha256 %v; wanted %d B and %v, as in the manifest", got.Size, got.SHA256, want.Size, want.SHA256)
		}
	}
}

// Err returns all faults as one error.
func (r *Result) Err() error {
	var all []error
	for _, f := range r.Faults {
		all = append(all, errors.New(f))
	}
	return errors.Join(all...)
}
