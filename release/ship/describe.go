package ship

import (
	"context"
	"crypto/x509"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/esp"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/payload/chunks"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// Describe adds all files of the release to the blobs and returns the manifest.
func (s *Shipper) Describe(ctx context.Context, planned *plan.Planned, full partition.Partition, kernel Kernel) (*manifest.Manifest, error) {
	toolchain, err := s.Bench.Go()
	if err != nil {
		return nil, err
	}
	tools := s.Bench.Tools.Versions(slices.Concat(pack.Tools, partition.Tools, chunks.Tools)...)
	if s.Base.Disk != "" {
		maps.Copy(tools, s.Bench.Tools.Versions(esp.Tools...))
	}
	tools[partition.ZstdModule] = partition.ZstdVersion()
	m := &manifest.Manifest{
		Schema: manifest.Schema, Version: s.Base.Version, Arch: string(s.Base.Arch), Epoch: s.Base.Epoch.Unix(),
		Base: manifest.Base{
			ID: s.Base.ID, VersionID: s.Base.VersionID, Build: s.Base.Build, Systemd: s.Base.Systemd, Kernel: s.Base.Release,
			Source: s.Base.Source, Usr: digest.Of([]byte(s.Base.Target.Usr.Listing())),
		},
		Tools: tools,
		Go:    toolchain.Version,
		Partition: manifest.Partition{
			File: manifest.PartitionFile, Filesystem: btrfs.FlatcarFilesystem,
			RootHash: full.Verity.RootHash, Line: full.Verity.Line, Salt: full.Verity.Salt, UUID: full.Verity.UUID,
			FreeBefore: planned.Empty.Free, FreeAfter: full.Free,
		},
	}
	if s.Base.Suite != nil {
		m.Base.Archive = s.Base.Suite.Fingerprint
	}
	if s.Keys.Image != nil {
		m.SignedBy = digest.Of(s.Keys.Image.Certificate().Raw)
	}
	m.Source = s.source(ctx)
	m.ToolPackages = debianPackages(s.Bench.Tools.Installed())
	if m.Base.Packages, err = packagesOf(s.Base.Target); err != nil {
		return nil, err
	}
	if s.Keys.Update.Development() {
		m.DevelopmentKeys = append(m.DevelopmentKeys, manifest.PayloadsSigned)
	}
	if s.Keys.Image != nil && s.Keys.Image.Development() {
		m.DevelopmentKeys = append(m.DevelopmentKeys, manifest.ImagesSigned)
	}
	describePlan(m, s.Choice.Profile, planned)
	if m.Programs, err = s.goPrograms(ctx, m.Images); err != nil {
		return nil, err
	}
	if m.Update, err = s.describeUpdate(); err != nil {
		return nil, err
	}
	m.Kernel = kernel.Facts
	m.Files = append(m.Files, manifest.File{Name: manifest.PartitionFile, Size: size.Bytes(full.Size), SHA256: full.SHA256})
	m.Files = append(m.Files, manifest.File{Name: manifest.KernelFile, Size: size.Bytes(kernel.Size), SHA256: kernel.SHA256})
	if s.Base.Disk != "" {
		disk, err := s.diskImage(ctx, full, kernel)
		if err != nil {
			return nil, err
		}
		m.Files = append(m.Files, disk)
	}
	if err := s.describeRest(m); err != nil {
		return nil, err
	}
	if err := s.addUpdates(ctx, m, planned); err != nil {
		return nil, err
	}
	m.Initrds = planned.Initrds
	for _, i := range m.Initrds {
		for _, f := range i.Files {
			m.Add(f)
		}
	}
	return m, nil
}

// DescribePlan returns a manifest with only the plan.
func DescribePlan(profile *profiles.Profile, planned *plan.Planned) *manifest.Manifest {
	m := &manifest.Manifest{}
	describePlan(m, profile, planned)
	return m
}

// describePlan adds recipes, platforms, images and extensions.
func describePlan(m *manifest.Manifest, profile *profiles.Profile, planned *plan.Planned) {
	m.Plan = manifest.Plan{Profile: profile.Name, Budgets: planned.Budgets, Least: planned.Least()}
	for _, s := range planned.Staged {
		for _, made := range s.Recipes {
			r := manifest.Recipe{Name: made.Recipe.Name.Value, Inputs: made.Inputs}
			if !slices.ContainsFunc(m.Recipes, func(known manifest.Recipe) bool { return known.Name == r.Name }) {
				m.Recipes = append(m.Recipes, r)
			}
		}
		described := describePlatform(s, planned.Images)
		if origin := profile.OEM.Origin(described.ID); origin != profiles.FromRecipes {
			described.Origin = string(origin)
		}
		m.Platforms = append(m.Platforms, described)
	}
	slices.SortFunc(m.Recipes, func(a, b manifest.Recipe) int { return strings.Compare(a.Name, b.Name) })
	for _, image := range planned.Images {
		m.Images = append(m.Images, describeImage(image, planned.Staged))
		m.Files = append(m.Files, manifest.File{Name: image.File(), Size: image.Packed.Size, SHA256: image.Packed.SHA256})
	}
	for _, x := range planned.Extensions {
		m.Extensions = append(m.Extensions, describeExtension(x))
	}
}

func describePlatform(s oem.Staged, images []plan.Image) manifest.Platform {
	p := manifest.Platform{
		ID: s.Platform.ID.Value, Name: s.Platform.Name, KernelID: s.Platform.KernelID.Value,
		Missing: s.Platform.Missing, Dropped: s.Dropped.Files(), Activates: []string{s.Platform.Image()},
	}
	for _, made := range s.Recipes {
		p.Recipes = append(p.Recipes, made.Recipe.Name.Value)
	}
	for _, image := range images {
		if !slices.Contains(image.Platforms, p.ID) {
			continue
		}
		if image.Name == s.Platform.Image() {
			p.Placement = image.Placement
		} else {
			p.Activates = append(p.Activates, image.Name)
		}
		p.Files += image.Tree.Files()
		p.Unpacked += image.Tree.Size()
		p.Read += image.Read
	}
	return p
}

func describeImage(i plan.Image, staged []oem.Staged) manifest.Image {
	m := manifest.Image{
		Name: i.Name, Platforms: i.Platforms, File: i.File(),
		Size: i.Packed.Size, SHA256: i.Packed.SHA256, Rung: i.Packed.Rung, RootHash: i.Packed.RootHash, Cost: i.Cost, Read: i.Read, Unpacked: i.Tree.Size(),
	}
	if i.Placement.Embedded() {
		m.Embedded = path.Join(embed.Dir, i.File())
	}
	of := slices.IndexFunc(staged, func(s oem.Staged) bool { return s.Platform.ID.Value == i.Platforms[0] })
	for _, e := range i.Tree {
		if e.Type != tree.Dir {
			m.Contents = append(m.Contents, manifest.Content{
				Path: e.Path, Size: e.Size, SHA256: e.SHA256, Target: e.Target, Recipe: staged[of].RecipeOf(e.Path),
			})
		}
	}
	return m
}

func describeExtension(x plan.Extension) manifest.Extension {
	m := manifest.Extension{
		Name: x.Name.Value, Version: x.Version.Value, Default: x.Default, Inputs: x.Inputs, Coupled: x.Coupled, Unpacked: x.Tree.Size(),
	}
	for _, e := range x.Tree {
		if e.Type != tree.Dir {
			m.Contents = append(m.Contents, manifest.Content{Path: e.Path, Size: e.Size, SHA256: e.SHA256, Target: e.Target})
		}
	}
	if x.Flatten {
		return m
	}
	m.Enable, m.Platforms = string(x.Enable.How), x.Enable.IDs()
	m.Embedded, m.AsIs = path.Join(embed.Dir, x.File), x.AsIs
	m.Size, m.SHA256, m.RootHash, m.Cost = x.Packed.Size, x.Packed.SHA256, x.Packed.RootHash, x.Cost
	if !x.AsIs {
		m.Rung = &x.Packed.Rung
	}
	if x.Trusted != nil {
		m.SignedBy = digest.Of(x.Trusted.Raw)
	}
	return m
}

// describeRest adds all files other than images and the partition.
func (s *Shipper) describeRest(m *manifest.Manifest) error {
	add := func(name string, content io.Reader) error {
		d, n, err := s.Bench.Blobs.Add(content)
		m.Files = append(m.Files, manifest.File{Name: name, Size: size.Bytes(n), SHA256: d})
		return err
	}
	if s.Base.Initrd != "" { // else the kernel contains it
		content, err := os.Open(s.Base.Initrd)
		if err != nil {
			return err
		}
		err = add(manifest.InitrdFile, content)
		content.Close()
		if err != nil {
			return err
		}
	}
	if err := add(manifest.RootHashFile, strings.NewReader(m.Partition.RootHash.String())); err != nil {
		return err
	}
	slices.SortFunc(m.Files, func(a, b manifest.File) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

func (s *Shipper) describeUpdate() (*manifest.Update, error) {
	u := s.Choice.Profile.Update
	if u == nil {
		return nil, nil
	}
	m := &manifest.Update{Server: u.Server.Value, Group: u.Group.Value}
	if s.Keys.Trusted == nil {
		return m, nil
	}
	der, err := x509.MarshalPKIXPublicKey(s.Keys.Trusted)
	m.Key = digest.Of(der)
	return m, err
}
