package manifest

import (
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Names in a release directory that do not depend on a platform, some as Flatcar's servers and tools have them.
const (
	PartitionFile      = "usr.bin"
	RootHashFile       = "usr.roothash"
	KernelFile         = "vmlinuz"
	InitrdFile         = "initrd"
	DiskFile           = "flatcar_production_image.bin"
	UpdateFile         = "flatcar_production_update.gz"
	UpdateKeyFile      = "update-payload-key.pub.pem"
	ReportFile         = "report.html"
	ReportMarkdownFile = "report.md" // for a pull request or a job's summary
)

// DeltaFile returns the name of an update payload for machines of an earlier release. GitHub takes no plus sign in a name.
func DeltaFile(from string) string {
	return "flatcar_production_update-from-" + strings.ReplaceAll(from, "+", "_") + ".gz"
}

// MaxPublished is the most that GitHub takes of one file of a release (docs.github.com, "About releases").
const MaxPublished = 2*size.GiB - 1

// Tag returns the tag that a release is published under. Architectures have releases of their own, since their files have the
// same names.
func Tag(version, architecture string) string { return version + "-" + architecture }

// Tag returns the tag that the release is published under.
func (m *Manifest) Tag() string { return Tag(m.Version, m.Arch) }
