package base

import (
	"context"
	"fmt"
	"strings"

	"github.com/flatcar/oem-sysext/oem/debian"
)

// Status returns which packages a base of this definition has, as a dpkg status file, from the archive's indexes alone.
// So lock files can be made for every architecture without assembling a base of each.
func (d Definition) Status(ctx context.Context, release *debian.Release) ([]byte, error) {
	packages, err := release.Packages(ctx)
	if err != nil {
		return nil, err
	}
	closure, err := packages.Closure(debian.Ask{Want: d.packages(release.Arch), Without: d.Without})
	if err != nil {
		return nil, fmt.Errorf("packages of base %s: %w", d.ID, err)
	}
	return packages.Status(closure.Packages), nil
}

// packages are those of the definition for an architecture.
func (d Definition) packages(arch string) []string {
	names := make([]string, len(d.Packages))
	for i, name := range d.Packages {
		names[i] = forArch(name, arch)
	}
	return names
}

// forArch returns the name that a package with an architecture in its name, such as linux-image-amd64, has on another one.
func forArch(name, arch string) string {
	if stem, isKernel := strings.CutSuffix(name, "-amd64"); isKernel {
		return stem + "-" + arch
	}
	return name
}
