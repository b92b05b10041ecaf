package flatcar

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/upstream/signature"
	"github.com/flatcar/oem-sysext/release/format/osrelease"
)

// EnvServers names the servers that releases are downloaded from; CHANNEL in it stands for a channel.
const EnvServers = "FLATCAR_SERVER"

// DefaultServers are Flatcar's own.
const DefaultServers = "https://CHANNEL.release.flatcar-linux.net"

// diskImage is what is downloaded of a release: it has the partition and the kernel in one signed file.
const diskImage = "flatcar_production_image.bin.bz2"

// maxDownload is how long a file may be. A compressed disk image has half a GiB.
const maxDownload = 4 * size.GiB

// KernelName is what the kernel of a release is called.
const KernelName = "flatcar_production_image.vmlinuz"

// kernelNames are what kernels are called that are published, or written by us, beside an image without one.
var kernelNames = []string{KernelName, "flatcar_production_pxe.vmlinuz", "vmlinuz"}

// packagesName is the list of an image's packages, beside it.
const packagesName = "flatcar_production_image_packages.txt"

// initrdName is what an initramfs is called that lies beside a partition of ours. Flatcar's kernels hold theirs.
const initrdName = "initrd"

// found is a file that is proven to be what it should be, as far as anything can prove that.
type found struct {
	path   string
	digest digest.SHA256
	signed bool
	near   func(name string) (found, bool, error) // another file from the same place, if it is there
}

// obtain returns the file that a reference means, and the version that it must have, if that is known.
func (o Options) obtain(ctx context.Context, r Reference) (f found, version string, err error) {
	switch {
	case r.File != "":
		f, err := o.local(r.File)
		return f, r.wanted(), err
	case r.URL != "":
		f, err := o.download(ctx, r.URL)
		return f, r.wanted(), err
	}
	channel, directory, err := r.channel()
	if err != nil {
		return found{}, "", err
	}
	board := o.board(channel)
	version = directory
	if r.Version == "" {
		if version, err = o.latest(ctx, board+directory+"/version.txt"); err != nil {
			return found{}, "", err
		}
		o.Log.Info("the latest release of the channel", "channel", r.Channel, "version", version)
	}
	f, err = o.download(ctx, board+version+"/"+diskImage)
	return f, version, err
}

// latest reads a channel's current version. Nobody signs it: a server can name an older release, but not another's.
func (o Options) latest(ctx context.Context, address string) (string, error) {
	doc, err := o.Store.Latest(ctx, address)
	if err != nil {
		return "", err
	}
	values, err := osrelease.Parse(doc.Content)
	if err != nil {
		return "", fmt.Errorf("%s: %w", fetch.Redact(address), err)
	}
	version := values["FLATCAR_VERSION"]
	if !versionPattern.MatchString(version) {
		return "", fmt.Errorf("%s: FLATCAR_VERSION is %.40q; wanted a version such as 4593.2.1", fetch.Redact(address), version)
	}
	return version, doc.Keep()
}

// download returns a file that is signed with Flatcar's key. A download that was cut goes on;
// what was proven once is in the store under its digest and costs only a look at the signature.
func (o Options) download(ctx context.Context, address string) (found, error) {
	signed, err := withSuffix(address, ".sig")
	if err != nil {
		return found{}, err
	}
	doc, err := o.Store.Latest(ctx, signed)
	if errors.Is(err, fetch.ErrNotFound) {
		return found{}, fmt.Errorf("%s cannot be verified; wanted a signature beside it: %w", fetch.Redact(address), err)
	}
	if err != nil {
		return found{}, err
	}
	if len(doc.Content) > signature.MaxLength {
		return found{}, fmt.Errorf("%s has %d bytes; wanted at most %d", fetch.Redact(signed), len(doc.Content), signature.MaxLength)
	}
	key, err := digest.OfInputs([]any{"signed by Flatcar", doc.Content})
	if err != nil {
		return found{}, err
	}
	inputs := []any{doc.Content, o.Keys[0].PrimaryKey.Fingerprint}
	stored := func(s fetch.Seen) bool { _, err := os.Stat(s.Path); return err == nil }
	seen, err := store.Local(o.Results.Step("signed", inputs), stored, func() (fetch.Seen, error) {
		return o.Store.Learn(ctx, fetch.Unpinned{
			URLs: []string{address}, Max: maxDownload, Key: key,
			Also: func(path string) error { return o.verify(path, doc.Content) },
		})
	})
	if err != nil {
		return found{}, err
	}
	file, err := o.Store.File(ctx, fetch.Want{URLs: []string{address}, SHA256: seen.SHA256, Size: seen.Size})
	if err != nil {
		return found{}, err
	}
	near := func(name string) (found, bool, error) {
		other, err := beside(address, name)
		if err != nil {
			return found{}, false, err
		}
		f, err := o.download(ctx, other)
		if errors.Is(err, fetch.ErrNotFound) {
			return found{}, false, nil
		}
		return f, err == nil, err
	}
	return found{file, seen.SHA256, true, near}, doc.Keep()
}

// local returns a file of the user's. It needs no signature, but where there is one it must be right.
func (o Options) local(file string) (found, error) {
	signature, err := os.ReadFile(file + ".sig")
	signed := err == nil
	switch {
	case signed:
		if err := o.verify(file, signature); err != nil {
			return found{}, err
		}
		o.Log.Info("the signature is good", "file", file)
	case !errors.Is(err, fs.ErrNotExist):
		return found{}, err
	}
	d, _, err := digest.OfFile(file)
	near := func(name string) (found, bool, error) {
		other := filepath.Join(filepath.Dir(file), name)
		if _, err := os.Stat(other); errors.Is(err, fs.ErrNotExist) {
			return found{}, false, nil
		}
		f, err := o.local(other)
		return f, err == nil, err
	}
	return found{file, d, signed, near}, err
}

// verify checks a detached signature by one of the key's subkeys, which must have been valid when it was made.
func (o Options) verify(file string, signed []byte) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := signature.OpenPGPThen(o.Keys, f, signed, time.Now()); err != nil {
		return fmt.Errorf("%s is not signed with Flatcar's key %X: %w; if a newer subkey signed it, %s names a file with the whole key",
			filepath.Base(file), o.Keys[0].PrimaryKey.Fingerprint, err, EnvKey)
	}
	return nil
}

func withSuffix(address, suffix string) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return "", errors.New("not an address")
	}
	parsed.Path += suffix
	return parsed.String(), nil
}

// beside is the address of another file in the same directory.
func beside(address, name string) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return "", errors.New("not an address")
	}
	parsed.Path = path.Join(path.Dir(parsed.Path), name)
	return parsed.String(), nil
}
