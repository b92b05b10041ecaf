// Package sbom writes a release's bills of materials as SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/): one document for each
// image, and one for the whole release.
//
// In: a manifest. Out: JSON, the same for the same manifest. It lists the packages in each image, with digests and package URLs.
package sbom

import (
	"fmt"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/source/spdx"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// Suffix follows the image's name in a document's name; ReleaseName is the document of the release.
const (
	Suffix      = spdx.Suffix
	ReleaseName = "release" + Suffix
)

// Documents returns all documents of a release by name.
func Documents(m *manifest.Manifest) (map[string][]byte, error) {
	documents := map[string][]byte{}
	for _, i := range m.Images {
		d := newDocument(m, i.File)
		d.Describe(addImage(d, m, i))
		encoded, err := d.Encode()
		if err != nil {
			return nil, err
		}
		documents[i.File+Suffix] = encoded
	}
	var err error
	documents[ReleaseName], err = release(m).Encode()
	return documents, err
}

// release lists all files of a release and the packages in each image.
func release(m *manifest.Manifest) *spdx.Document {
	d := newDocument(m, "oem-tools")
	whole := d.Add(spdx.Package{ID: "SPDXRef-Release", Name: "oem-tools", Version: m.Version, Purpose: "OPERATING-SYSTEM"})
	d.Describe(whole)
	base := spdx.Package{
		ID: "SPDXRef-Base", Name: m.Base.ID, Version: m.Base.VersionID, Purpose: "OPERATING-SYSTEM",
		Comment: "systemd " + m.Base.Systemd + ", kernel " + m.Base.Kernel + ", listing of /usr sha256:" + m.Base.Usr.String(),
	}
	if !m.Base.Source.IsZero() {
		base.Checksums = spdx.SHA256(m.Base.Source)
	}
	d.Relate(whole, "GENERATED_FROM", d.Add(base))
	for _, p := range m.Base.Packages {
		d.Relate("SPDXRef-Base", "CONTAINS", d.Add(installed(p)))
	}
	for _, p := range m.ToolPackages {
		d.Relate(d.Add(installed(p)), "BUILD_TOOL_OF", whole)
	}
	if m.Source != nil {
		d.Relate(whole, "GENERATED_FROM", d.Add(source(*m.Source)))
	}
	ids := map[string]string{}
	for _, i := range m.Images {
		ids[i.File] = addImage(d, m, i)
	}
	for _, f := range m.Files {
		if ids[f.Name] == "" {
			ids[f.Name] = d.Add(spdx.Package{ID: "SPDXRef-File-" + spdx.Short(f.Name), Name: f.Name, Version: m.Version, File: f.Name, Purpose: "FILE", Checksums: spdx.SHA256(f.SHA256)})
		}
		d.Relate(whole, "CONTAINS", ids[f.Name])
	}
	for _, i := range m.Images {
		if i.Embedded != "" {
			d.Relate(ids[m.Partition.File], "CONTAINS", ids[i.File])
		}
	}
	return d
}

func newDocument(m *manifest.Manifest, name string) *spdx.Document {
	// The root hash and the image's name make it unique.
	unique := fmt.Sprintf("%s/%s/%v", m.Arch, name, m.Partition.RootHash)
	return spdx.New(name+"-"+m.Version+"-"+m.Arch, unique, time.Unix(m.Epoch, 0))
}

// addImage adds an image and the inputs of all recipes with files in it.
func addImage(d *spdx.Document, m *manifest.Manifest, i manifest.Image) string {
	id := d.Add(spdx.Package{
		ID: "SPDXRef-Image-" + spdx.Short(i.File), Name: i.Name, Version: m.Version, File: i.File, Purpose: "ARCHIVE", Checksums: spdx.SHA256(i.SHA256),
		Comment: "systemd-sysext image for " + strings.Join(i.Platforms, ", "),
	})
	recipes, files := map[string]bool{}, map[digest.SHA256]bool{}
	for _, c := range i.Contents {
		recipes[c.Recipe], files[c.SHA256] = true, true
	}
	for _, p := range m.Programs {
		if !files[p.SHA256] {
			continue
		}
		modules := append([]manifest.Module{{Path: "stdlib", Version: strings.TrimPrefix(p.Go, "go")}}, p.Modules...)
		for _, module := range modules {
			d.Relate(id, "CONTAINS", d.Add(compiled(module)))
		}
	}
	for _, r := range m.Recipes {
		if !recipes[r.Name] {
			continue
		}
		for _, in := range r.Inputs {
			d.Relate(id, "GENERATED_FROM", d.Add(spdx.Of(in, m.Arch)))
		}
	}
	return id
}

// project is where the pipeline's own source is.
const project = "https://github.com/flatcar/oem-sysext"

// source is the commit that the release was made by.
func source(s manifest.Source) spdx.Package {
	p := spdx.Package{ID: "SPDXRef-Source", Name: "oem-sysext", Version: s.Commit, Location: "git+" + project + ".git@" + s.Commit, Purpose: "SOURCE"}
	if s.Dirty {
		p.Comment = "dirty: files of the checkout differed from this commit"
	}
	return p
}

// installed is a package of the base or of the tool root.
func installed(i manifest.Package) spdx.Package {
	p := spdx.Package{ID: "SPDXRef-Package-" + spdx.Short(i.Kind, i.Name, i.Version, i.Arch), Name: i.Name, Version: i.Version}
	p.Locate(input.Input{Kind: i.Kind, Name: i.Name, Version: i.Version}, i.Arch)
	return p
}

// compiled is a module that was compiled into a program, or Go's standard library.
func compiled(m manifest.Module) spdx.Package {
	p := spdx.Package{ID: "SPDXRef-Module-" + spdx.Short(m.Path, m.Version, m.Sum), Name: m.Path, Version: m.Version}
	if m.Sum != "" {
		p.Comment = "module sum " + m.Sum
	}
	p.Locate(input.Input{Kind: "go", Name: m.Path, Version: m.Version}, "")
	return p
}
