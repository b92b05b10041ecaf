package release

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/sparse"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/esp"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/payload"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/ship/report"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

// Names in a release directory that do not depend on a platform.
const (
	partitionFile = "usr.bin"
	rootHashFile  = "usr.roothash"
	kernelFile    = "vmlinuz"
	initrdFile    = "initrd"
	diskFile      = "flatcar_production_image.bin"
	sumsFile      = verify.SumsName

	reportFile         = "report.html"
	reportMarkdownFile = "report.md" // for a pull request or a job's summary
)

// describe keeps all files of the release as blobs and writes down what they are.
func (w *workshop) describe(ctx context.Context, staged []oem.Staged, plan fitted, empty, full partition, kernel bootable) (*manifest.Manifest, error) {
	golang, err := build.FindGo(ctx)
	if err != nil {
		return nil, err
	}
	tools := w.tools.Versions(slices.Concat(pack.Tools, btrfsTools, payload.Tools)...)
	if w.base.Disk != "" {
		maps.Copy(tools, w.tools.Versions(esp.Tools...))
	}
	tools[compressor] = compressorVersion()
	m := &manifest.Manifest{
		Schema: manifest.Schema, Version: w.Version, Arch: string(w.Arch), Epoch: w.Epoch.Unix(),
		Base: manifest.Base{
			ID: w.base.ID, VersionID: w.base.VersionID, Build: w.base.Build, Systemd: w.base.Systemd, Kernel: w.base.Release,
			Source: w.base.Source, Usr: digest.Of([]byte(w.target.Usr.Listing())),
		},
		Tools: tools,
		Go:    golang.Version,
		Plan:  manifest.Plan{Profile: w.profile.Name, Budgets: plan.budgets},
		Partition: manifest.Partition{
			File: partitionFile, Filesystem: btrfs.FlatcarFilesystem,
			RootHash: full.Verity.RootHash, Salt: full.Verity.Salt, UUID: full.Verity.UUID,
			FreeBefore: empty.Free, FreeAfter: full.Free,
		},
	}
	if w.suite != nil {
		m.Base.Archive = w.suite.Fingerprint
	}
	if w.imageKey != nil {
		m.SignedBy = digest.Of(w.imageKey.Certificate().Raw)
	}
	describePlan(m, staged, plan)
	for _, x := range w.extensions {
		m.Extensions = append(m.Extensions, describeExtension(x))
	}
	if m.Update, err = w.describeUpdate(); err != nil {
		return nil, err
	}
	m.Kernel = kernel.Told
	m.Files = append(m.Files, manifest.File{Name: partitionFile, Size: size.Bytes(full.Size), SHA256: full.SHA256})
	m.Files = append(m.Files, manifest.File{Name: kernelFile, Size: size.Bytes(kernel.Size), SHA256: kernel.SHA256})
	if w.base.Disk != "" {
		disk, err := w.diskImage(ctx, full, kernel)
		if err != nil {
			return nil, err
		}
		m.Files = append(m.Files, disk)
	}
	return m, w.describeRest(m)
}

// describePlan writes down recipes, platforms and images.
func describePlan(m *manifest.Manifest, staged []oem.Staged, plan fitted) {
	for _, s := range staged {
		for _, made := range s.Recipes {
			r := manifest.Recipe{Name: made.Recipe.Name.Value, Inputs: made.Inputs}
			if !slices.ContainsFunc(m.Recipes, func(known manifest.Recipe) bool { return known.Name == r.Name }) {
				m.Recipes = append(m.Recipes, r)
			}
		}
		m.Platforms = append(m.Platforms, describePlatform(s, plan.images))
	}
	slices.SortFunc(m.Recipes, func(a, b manifest.Recipe) int { return strings.Compare(a.Name, b.Name) })
	for _, image := range plan.images {
		m.Images = append(m.Images, describeImage(image, staged))
		m.Files = append(m.Files, manifest.File{Name: image.file(), Size: image.Size, SHA256: image.SHA256})
	}
}

func describePlatform(s oem.Staged, images []image) manifest.Platform {
	p := manifest.Platform{
		ID: s.Platform.ID.Value, Name: s.Platform.Name, KernelID: s.Platform.KernelID.Value,
		Dropped: s.Dropped.Files(), Activates: []string{s.Platform.Image()},
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

func describeImage(i image, staged []oem.Staged) manifest.Image {
	m := manifest.Image{
		Name: i.Name, Platforms: i.Platforms, File: i.file(),
		Size: i.Size, SHA256: i.SHA256, Rung: i.Rung, RootHash: i.RootHash, Cost: i.Cost, Read: i.Read, Unpacked: i.Tree.Size(),
	}
	if i.Placement.Embedded() {
		m.Embedded = path.Join(embed.Dir, i.file())
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

func describeExtension(x *composed) manifest.Extension {
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
	m.Size, m.SHA256, m.RootHash, m.Cost = x.Size, x.SHA256, x.RootHash, x.Cost
	if !x.AsIs {
		m.Rung = &x.Rung
	}
	if x.Trusted != nil {
		m.SignedBy = digest.Of(x.Trusted.Raw)
	}
	return m
}

// describeRest adds the files that are neither images nor the partition.
func (w *workshop) describeRest(m *manifest.Manifest) error {
	add := func(name string, content io.Reader) error {
		d, n, err := w.blobs.Add(content)
		m.Files = append(m.Files, manifest.File{Name: name, Size: size.Bytes(n), SHA256: d})
		return err
	}
	if w.base.Initrd != "" { // else the kernel holds it
		content, err := os.Open(w.base.Initrd)
		if err != nil {
			return err
		}
		err = add(initrdFile, content)
		content.Close()
		if err != nil {
			return err
		}
	}
	if err := add(rootHashFile, strings.NewReader(m.Partition.RootHash.String())); err != nil {
		return err
	}
	slices.SortFunc(m.Files, func(a, b manifest.File) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// Dir returns where a release lies.
func (o Options) Dir() string {
	return filepath.Join(o.Output, orElse(o.Version, DefaultVersion), string(o.Arch))
}

// write makes the release directory. A directory that is right already is left alone;
// any other one is replaced as a whole, after the new one is complete.
func (w *workshop) write(ctx context.Context, m *manifest.Manifest) (err error) {
	extra, err := w.ownFiles(m)
	if err != nil {
		return err
	}
	dir := w.Dir()
	if isComplete(dir, m, extra) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	scratch, err := store.OpenScratch(filepath.Join(w.Output, ".scratch"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	temp := filepath.Join(scratch.Dir, "new")
	if err := os.Mkdir(temp, 0o755); err != nil {
		return err
	}
	if err := w.fill(ctx, temp, m, extra); err != nil {
		return err
	}
	return swap(temp, dir)
}

// ownFiles returns what is written from the manifest itself: the manifest, the reports, and the sums of everything.
func (w *workshop) ownFiles(m *manifest.Manifest) (map[string][]byte, error) {
	encoded, err := m.Encode()
	if err != nil {
		return nil, err
	}
	previous, err := w.previousReleases()
	if err != nil {
		return nil, err
	}
	var page, markdown bytes.Buffer
	if err := errors.Join(report.HTML(&page, m, previous), report.Markdown(&markdown, m, previous)); err != nil {
		return nil, err
	}
	own, err := w.documents(m)
	if err != nil {
		return nil, err
	}
	own[manifest.FileName], own[reportFile], own[reportMarkdownFile] = encoded, page.Bytes(), markdown.Bytes()
	sums := map[string]digest.SHA256{}
	for name, content := range own {
		sums[name] = digest.Of(content)
	}
	for _, f := range m.Files {
		sums[f.Name] = f.SHA256
	}
	own[sumsFile] = formatSums(sums)
	return own, nil
}

// isComplete tells whether a directory holds the release, byte for byte, and nothing else.
func isComplete(dir string, m *manifest.Manifest, extra map[string][]byte) bool {
	entries, err := os.ReadDir(dir)
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return isLater(e.Name()) })
	if err != nil || len(entries) != len(m.Files)+len(extra) {
		return false
	}
	for name, content := range extra {
		if name == sumsFile {
			if !hasSums(dir, content) {
				return false
			}
			continue
		}
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && name == reportFile {
			got, err = report.WithProofs(got, nil)
		}
		if err != nil || string(got) != string(content) {
			return false
		}
	}
	for _, f := range m.Files {
		if d, _, err := digest.OfFile(filepath.Join(dir, f.Name)); err != nil || d != f.SHA256 {
			return false
		}
	}
	return true
}

func (w *workshop) fill(ctx context.Context, dir string, m *manifest.Manifest, extra map[string][]byte) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for _, f := range m.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.writeBlob(filepath.Join(dir, f.Name), f.SHA256); err != nil {
			return err
		}
	}
	for name, content := range extra {
		if err := atomicfile.WriteBytes(filepath.Join(dir, name), 0o644, content); err != nil {
			return err
		}
	}
	return nil
}

func (w *workshop) writeBlob(path string, d digest.SHA256) error {
	return atomicfile.Create(path, 0o644, func(f *os.File) error {
		out := sparse.NewWriter(f)
		return errors.Join(w.blobs.CopyTo(out, d), out.Close())
	})
}

// swap puts a new directory in the place of an old one, in one step when there is an old one.
// What was there before is then at the path of the new one.
func swap(temp, dir string) error {
	err := os.Rename(temp, dir)
	if !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
}

// writeImages writes only the images, leaving those that are right already.
func (w *workshop) writeImages(dir string, images []oem.Image) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, image := range images {
		path := filepath.Join(dir, image.Platform.Image()+".raw")
		if d, _, err := digest.OfFile(path); err == nil && d == image.SHA256 {
			continue
		}
		if err := w.writeBlob(path, image.SHA256); err != nil {
			return err
		}
	}
	return nil
}
