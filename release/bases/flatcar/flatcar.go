// Package flatcar opens releases of Flatcar as bases: named by version or channel, by an address, or as a file.
//
// In: a disk image, a USR partition, a network-boot archive or its usr.squashfs, possibly compressed. What is downloaded
// must be signed with Flatcar's key; a file of the user's must be if there is a signature beside it.
// Out: a base in the cache, under the digest of the file that it came in. The file itself is only read.
//
// Refused is what is not what it claims, with what was wanted and where: another geometry than Flatcar's, dm-verity data
// that is elsewhere or does not fit, another version than was asked for or than the file's name has, another
// architecture, an ext2 /usr, and everything that is cut, too long or damaged.
package flatcar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/sealed"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/bases/base"
)

// ID is what all releases of Flatcar are called as a base.
const ID = "flatcar"

// EnvKernel names a kernel file for a base that comes without one.
const EnvKernel = "BASE_KERNEL"

// Options say where releases come from and where they are kept.
type Options struct {
	CacheDir string // must exist
	Arch     arch.Arch
	Kernel   string             // a kernel file in the place of the release's; empty: the release's
	Servers  string             // EnvServers
	Updates  string             // where payloads are, above BOARD/VERSION
	Keys     openpgp.EntityList // one key
	Store    *fetch.Store
	Results  *store.Results
	Tools    *toolroot.Root
	Log      *slog.Logger
}

// names of what a base has in the cache.
const (
	factsFile     = "base.json"
	usrDir        = "usr"
	partitionFile = "usr.bin"
	diskFile      = "disk.bin"
	kernelFile    = "vmlinuz"
	initrdFile    = "initrd"
	configFile    = "kernel.config"
	packagesFile  = "packages.txt"
)

// Open returns the release as a base from the cache, and puts it there first where needed: some minutes for a download,
// some seconds for a file. It needs to be root.
func Open(ctx context.Context, r Reference, o Options) (base.Base, error) {
	f, version, err := o.obtain(ctx, r)
	if err != nil {
		return base.Base{}, err
	}
	var kernel digest.SHA256
	if o.Kernel != "" {
		if kernel, _, err = digest.OfFile(o.Kernel); err != nil {
			return base.Base{}, fmt.Errorf("%s: %w", EnvKernel, err)
		}
	}
	const format = 3 // counts changes of this package that change the result
	key, err := digest.OfInputs([]any{format, f.digest, kernel, o.Arch, o.Tools.Versions("squashfs-tools", "mtools")})
	if err != nil {
		return base.Base{}, err
	}
	dir := filepath.Join(o.CacheDir, fmt.Sprintf("base-%s-%s", ID, key.Short()))
	err = atomicfile.Dir(dir, sealed.Filled(func(temp string) error {
		o.Log.Info("reading a base", "file", filepath.Base(f.path), "sha256", f.digest)
		i := &importer{Options: o, from: f, dir: temp}
		return i.run(ctx)
	}))
	if err == nil {
		err = sealed.Check(dir)
	}
	if err != nil {
		return base.Base{}, fmt.Errorf("base %s: %w", filepath.Base(f.path), err)
	}
	b, err := load(dir)
	if err != nil {
		return base.Base{}, err
	}
	b.Source = f.digest
	if version != "" && version != b.Version && version != b.VersionID {
		return base.Base{}, fmt.Errorf("base %s: os-release in its /usr says VERSION=%s; wanted %s, as asked for or named", filepath.Base(f.path), b.Version, version)
	}
	return b, nil
}

// load reads what an import wrote down and completes the paths.
func load(dir string) (base.Base, error) {
	var b base.Base
	content, err := os.ReadFile(filepath.Join(dir, factsFile))
	if err != nil {
		return b, err
	}
	if err := json.Unmarshal(content, &b); err != nil {
		return b, fmt.Errorf("%s: %w; remove the directory", filepath.Join(dir, factsFile), err)
	}
	b.Usr = filepath.Join(dir, usrDir)
	for name, into := range map[string]*string{
		partitionFile: &b.Image, diskFile: &b.Disk, kernelFile: &b.Kernel, initrdFile: &b.Initrd, configFile: &b.Config,
		packagesFile: &b.Packages,
	} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			*into = path
		} else if !errors.Is(err, os.ErrNotExist) {
			return b, err
		}
	}
	return b, nil
}
