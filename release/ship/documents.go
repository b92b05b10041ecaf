package ship

import (
	"maps"

	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/ship/provenance"
	"github.com/flatcar/oem-sysext/release/ship/sbom"
	"github.com/flatcar/oem-sysext/release/ship/sysupdate"
)

// documents returns bills of materials, provenance, definitions for systemd-sysupdate, and snippets that enable the profile's
// extensions.
func documents(m *manifest.Manifest, releases string) (map[string][]byte, error) {
	all := map[string][]byte{}
	boms, err := sbom.Documents(m)
	if err != nil {
		return nil, err
	}
	maps.Copy(all, boms)
	installed, err := sysupdate.Files(m, releases, m.Tag())
	if err != nil {
		return nil, err
	}
	maps.Copy(all, installed)
	enabling, err := snippets(m)
	if err != nil {
		return nil, err
	}
	maps.Copy(all, enabling)
	all[provenance.Name], err = provenance.Statement(m)
	return all, err
}
