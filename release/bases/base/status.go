package base

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/upstream/debian"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
)

// Status returns which packages a base of this definition has, as a dpkg status file, from the archive's indexes alone.
// So lock files can be made for every architecture without assembling a base of each.
func (d Definition) Status(ctx context.Context, release *repository.Release) ([]byte, error) {
	packages, err := release.Packages(ctx)
	if err != nil {
		return nil, err
	}
	closure, err := packages.Closure(debian.Ask{Want: d.forArch(release.Arch).Packages, Without: d.Without})
	if err != nil {
		return nil, fmt.Errorf("packages of base %s: %w", d.ID, err)
	}
	return packages.Status(closure.Packages), nil
}

// onlyAMD64 are drivers that kernels of other architectures do not have. Dracut leaves out those behind one that is missing.
var onlyAMD64 = []string{"vmw_pvscsi"}

// forArch returns the definition, which is written for amd64, for an architecture: packages may have its name in theirs, as
// linux-image-amd64 has.
func (d Definition) forArch(arch string) Definition {
	if arch == "amd64" {
		return d
	}
	d.Packages = slices.Clone(d.Packages)
	for i, name := range d.Packages {
		if stem, isKernel := strings.CutSuffix(name, "-amd64"); isKernel {
			d.Packages[i] = stem + "-" + arch
		}
	}
	d.Initrd.Drivers = slices.DeleteFunc(slices.Clone(d.Initrd.Drivers), func(name string) bool { return slices.Contains(onlyAMD64, name) })
	return d
}
