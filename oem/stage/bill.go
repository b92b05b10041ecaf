package stage

import (
	"path"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/source/spdx"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// billDir holds bills of materials on machines. Scanners find them there by their suffix.
const billDir = "/usr/share/sbom"

// withBill adds a bill of materials of the packages in a platform's tree: the base's package database does not know them, so a scanner
// of the machine would not see them. Modules of Go programs are not in it, because scanners read these from the programs.
func (s *Stager) withBill(t tree.Tree, p *platform.Platform, version string, parts []Part) (tree.Tree, error) {
	packages := packagesIn(t, parts)
	if len(packages) == 0 {
		return t, nil
	}
	listing := digest.Of([]byte(t.Listing()))
	d := spdx.New(p.Image(), path.Join(string(s.Base.Arch), p.Image(), listing.String()), s.Epoch)
	image := d.Add(spdx.Package{
		ID: "SPDXRef-Image", Name: p.Image(), Version: version, Purpose: "ARCHIVE", Comment: "systemd-sysext image: " + p.Name + " OEM tools",
	})
	d.Describe(image)
	for _, i := range packages {
		d.Relate(image, "CONTAINS", d.Add(spdx.Of(i, string(s.Base.Arch))))
	}
	content, err := d.Encode()
	if err != nil {
		return nil, err
	}
	kept, err := s.Keep(string(content))
	if err != nil {
		return nil, err
	}
	merged, _ := tree.Merge(tree.Tree{
		{Path: "/usr", Type: tree.Dir, Mode: 0o755},
		{Path: "/usr/share", Type: tree.Dir, Mode: 0o755},
		{Path: billDir, Type: tree.Dir, Mode: 0o755},
		{Path: path.Join(billDir, p.Image()+spdx.Suffix), Type: tree.File, Mode: 0o644, Size: int64(len(content)), SHA256: kept},
	}, t)
	return merged, nil
}

// packagesIn returns the packages of recipes with files in a tree.
func packagesIn(t tree.Tree, parts []Part) (packages []input.Input) {
	for _, part := range parts {
		there := slices.ContainsFunc(part.Tree, func(e tree.Entry) bool { return e.Type != tree.Dir && t.At(e.Path) != nil })
		if !there {
			continue
		}
		for _, i := range part.Inputs {
			if i.Version != "" { // else a file of the recipe
				packages = append(packages, i)
			}
		}
	}
	return packages
}
