package release

import (
	"maps"

	"github.com/flatcar/oem-sysext/release/manifest"
	"github.com/flatcar/oem-sysext/release/provenance"
	"github.com/flatcar/oem-sysext/release/sbom"
)

// documents returns what says where a release comes from: bills of materials and provenance.
func documents(m *manifest.Manifest) (map[string][]byte, error) {
	all := map[string][]byte{}
	boms, err := sbom.Documents(m)
	if err != nil {
		return nil, err
	}
	maps.Copy(all, boms)
	all[provenance.Name], err = provenance.Statement(m)
	return all, err
}
