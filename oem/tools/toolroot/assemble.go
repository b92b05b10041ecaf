package toolroot

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/sealed"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/bootstrap"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
)

// Suite is the Debian suite of the pipeline's tools.
const Suite = "trixie"

// packages are those whose programs the pipeline runs from its tool root.
var packages = []string{
	"btrfs-progs",    // mkfs.btrfs, btrfs
	"cryptsetup-bin", // veritysetup, to verify
	"dosfstools",     // fsck.fat
	"e2fsprogs",      // debugfs
	"erofs-utils",    // mkfs.erofs, fsck.erofs
	"fdisk",          // sfdisk
	"lbzip2",         // compresses payload data
	"mtools",         // mcopy
	"squashfs-tools", // sqfstar (mksquashfs), unsquashfs
}

// Options describe a tool root.
type Options struct {
	CacheDir string // must exist
	Results  *store.Results
	Release  *repository.Release // for the host's architecture
	Packages []string            // content of the root; the pipeline's own packages if empty
	Epoch    time.Time
	Log      *slog.Logger
}

// Open returns a tool root from the cache, and assembles it first if the archive has other packages than last time.
func Open(ctx context.Context, o Options) (*Root, error) {
	if len(o.Packages) == 0 {
		o.Packages = packages
	}
	key, err := digest.OfInputs([]any{1, o.Release.Fingerprint, o.Packages, o.Epoch.Unix()})
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(filepath.Join(o.CacheDir, "tools-"+key.Short()))
	if err != nil {
		return nil, err
	}
	err = store.Dir(ctx, o.Results, dir, key, sealed.Filled(func(temp string) error {
		return bootstrap.Make(ctx, bootstrap.Spec{
			Suite:    o.Release.Suite,
			Arch:     o.Release.Arch,
			Packages: o.Packages,
			Exclude:  []string{"/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"},
			Sources:  o.Release.SourceLines(),
			Keyring:  o.Release.Keyring(),
			Epoch:    o.Epoch,
		}, filepath.Join(temp, "root"), o.Log)
	}))
	if err == nil {
		err = sealed.Check(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("tool root: %w", err)
	}
	return At(filepath.Join(dir, "root"))
}
