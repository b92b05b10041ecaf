// Package verify checks a finished release as those who consume it do.
//
// In: a release, as a directory or wherever else its files can be read, and public keys. Every file is read once, as a stream.
// Out: the files, and everything that is wrong with them by name: content that is not what SHA256SUMS says, files that are missing
// or that nothing vouches for, a signature that does not belong to SHA256SUMS, a manifest that disagrees with the files, proofs
// about other files than these, or that speak against them.
// An error means that there was no answer, such as a server that is not there.
//
// Without keys a release is only known to be complete and undamaged, not whose it is.
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
	SysupdateName = sums.FileName + ".gpg" // the same, where systemd-sysupdate looks for it
	MinisignName  = sums.FileName + ".minisig"
)

// What proofs write beside a release, and into its sums.
const (
	ProofName          = "proof.json"
	RollbackProofName  = "proof-rollback.json"
	DowngradeProofName = "proof-downgrade.json"
	TamperProofName    = "proof-tamper.json"
	SoakProofName      = "proof-soak.json"
)

// Proofs are all of these, each with what it is of.
var Proofs = []struct{ Name, Title string }{
	{ProofName, "Proof"},
	{RollbackProofName, "Proof of updating and rolling back"},
	{DowngradeProofName, "Proof of going back to an older release"},
	{TamperProofName, "Proof of noticing damage"},
	{SoakProofName, "Proof of refreshing again and again"},
}

// IsLater tells whether a file is added to a release that is complete without it, and is about these very files.
func IsLater(name string) bool {
	return IsProof(name) || name == OpenPGPName || name == SysupdateName || name == MinisignName
}

// IsProof tells whether a file of this name is a proof.
func IsProof(name string) bool {
	return slices.ContainsFunc(Proofs, func(p struct{ Name, Title string }) bool { return p.Name == name })
}

// MaxManifest is how much of a manifest is read. One of twenty platforms has some 10 MB.
const MaxManifest = 256 << 20

// Source is where a release is read from.
type Source interface {
	Names(ctx context.Context) ([]string, error)
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// Keys are whose signatures count. A kind without a key is not looked at.
type Keys struct {
	OpenPGP  openpgp.EntityList
	Minisign *minisign.PublicKey
}

// Result is what a release is.
type Result struct {
	Manifest *manifest.Manifest // nil when something is wrong with it
	Files    []manifest.File    // all that are there, by name
	Signed   []string           // names of the signatures that are good
	Faults   []string           // everything that is wrong
}

// Release reads a release and checks it. Read is told how many bytes were read; it may be nil.
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
		c.fault("%s is missing, so nothing vouches for the other files", sums.FileName)
	}
	slices.Sort(c.result.Faults)
	return c.result, nil
}

type check struct {
	from   Source
	read   io.Writer
	kept   map[string][]byte // content of files that are looked into
	named  map[string]bool   // files that a fault is about already
	result *Result
}

func (c *check) fault(format string, args ...any) {
	c.result.Faults = append(c.result.Faults, fmt.Sprintf(format, args...))
}

// faultOf is fault about a file, of which the first is enough.
func (c *check) faultOf(name, format string, args ...any) {
	if !c.named[name] {
		c.named[name] = true
		c.fault("%s "+format, append([]any{name}, args...)...)
	}
}

func (c *check) there(name string) bool {
	return slices.ContainsFunc(c.result.Files, func(f manifest.File) bool { return f.Name == name })
}

// readAll reads every file once, and keeps the few small ones that are needed whole.
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

// limits says of which files how much is kept.
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
			c.faultOf(f.Name, "is not in %s, so nothing vouches for it", sums.FileName)
		case want != f.SHA256:
			c.faultOf(f.Name, "has sha256 %v; wanted %v", f.SHA256, want)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		c.faultOf(name, "is missing")
	}
}

// signatures checks those there are keys for. Whoever names a key wants its signature to be there.
func (c *check) signatures(keys Keys, now time.Time) {
	signed := func(name string, wanted bool, check func(content *bytes.Reader, signature []byte) error) {
		if !wanted {
			return
		}
		if !c.there(name) {
			c.fault("%s is missing, and there is a key for it", name)
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
			c.faultOf(want.Name, "is in the manifest and missing")
		case c.result.Files[at] != want:
			got := c.result.Files[at]
			c.faultOf(want.Name, "has %d B and sha256 %v; wanted %d B and %v, as the manifest says", got.Size, got.SHA256, want.Size, want.SHA256)
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
