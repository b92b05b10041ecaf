// Package early makes initramfs images: a platform's tools that are needed before /usr is mounted, in every form that
// an initramfs takes.
package early

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/image/rung"
	"github.com/flatcar/oem-sysext/oem/stage"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/plan/early/initrd"
	"github.com/flatcar/oem-sysext/release/plan/signed"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Maker makes initramfs images for a base.
type Maker struct {
	Bench  *setup.Bench
	Choice *setup.Choice
	Base   *bases.Base
	Keys   *setup.Keys
	Trust  partition.Trust
	Host   *initrd.Host // the initramfs that merges images (Look)
}

// scope allows the merge of an image in the initramfs and in the system that takes over from it.
const scope = "initrd system"

// Images makes the images of the chosen platforms with initrd:, in all forms that suit the base.
func (m *Maker) Images(ctx context.Context) ([]manifest.Initrd, error) {
	var asking []*platform.Platform
	for _, p := range m.Choice.Chosen {
		if q := p.ForInitrd(); q != nil {
			asking = append(asking, q)
		}
	}
	if len(asking) == 0 {
		return nil, nil
	}
	return m.ImagesOf(ctx, asking)
}

// ImagesOf makes the images of the given platforms.
func (m *Maker) ImagesOf(ctx context.Context, asking []*platform.Platform) ([]manifest.Initrd, error) {
	factory, err := m.Bench.Factory(m.Base.Target, m.Base.Epoch)
	if err != nil {
		return nil, err
	}
	defer m.Bench.Downloads.End()
	staged, err := factory.Stage(ctx, asking)
	if err != nil {
		return nil, err
	}
	var made []manifest.Initrd
	for _, s := range staged {
		i, err := m.imageOf(ctx, factory, s)
		if missing := (*sign.MissingError)(nil); errors.As(err, &missing) {
			continue // one request for all missing signatures
		}
		if err != nil {
			return nil, fmt.Errorf("platform %s, initramfs image: %w", s.Platform.ID, err)
		}
		made = append(made, i)
	}
	return made, m.Keys.Stub.Finish()
}

// imageOf makes one platform's image in all forms.
func (m *Maker) imageOf(ctx context.Context, factory *oem.Factory, s oem.Staged) (made manifest.Initrd, err error) {
	p := s.Platform
	release := stage.Release{Image: p.Image(), Title: p.Name + " OEM tools", Homepage: string(p.Homepage), Version: s.Version(), Scope: scope}
	content, err := stage.WithRelease(s.Tree, release, m.Base.Target, m.keep)
	if err != nil {
		return made, err
	}
	if content, err = m.withModules(content, p); err != nil {
		return made, err
	}
	packed, err := factory.Packer.Image(ctx, content, rung.Default)
	if err != nil {
		return made, err
	}
	whole, err := signed.Maker{Bench: m.Bench, Arch: m.Base.Arch}.Image(ctx, strings.TrimSuffix(p.Image()+ImageForm, ".raw"), packed, m.Keys.Stub)
	if err != nil {
		return made, err
	}
	merged := packed
	if m.Keys.Image != nil {
		merged = whole.Image
	}
	made = manifest.Initrd{
		Platform: p.ID.Value, Rung: packed.Rung, RootHash: whole.RootHash,
		Image: manifest.Installed{Size: merged.Size, SHA256: merged.SHA256},
	}
	for _, r := range s.Recipes {
		made.Recipes = append(made.Recipes, r.Recipe.Name.Value)
	}
	made.SecondStage = p.Initrd.SecondStage && TwoStages(m.Base)
	made.Modules = p.Initrd.AllModules()
	forms, err := m.forms(p)
	if err != nil {
		return made, err
	}
	made.Files = append(made.Files, manifest.File{Name: p.Image() + ImageForm, Size: whole.Size, SHA256: whole.SHA256})
	for _, f := range forms {
		image := merged
		if f.suffix == StubForm {
			image = whole.Image
		}
		file, err := m.writeForm(ctx, p.Image(), f, image)
		if err != nil {
			return made, err
		}
		made.Files = append(made.Files, file)
	}
	return made, nil
}

// withModules adds the kernel modules of a platform and its recipes, and the modules-load.d file that loads them.
func (m *Maker) withModules(content tree.Tree, p *platform.Platform) (tree.Tree, error) {
	names := p.Initrd.AllModules()
	if len(names) == 0 {
		return content, nil
	}
	list := strings.Join(names, "\n") + "\n"
	usr, err := os.OpenRoot(m.Base.Usr)
	if err != nil {
		return nil, err
	}
	defer usr.Close()
	paths, err := m.Host.Modules(usr.FS(), m.Base.Release, names)
	if err != nil {
		return nil, err
	}
	d, err := m.keep(list)
	if err != nil {
		return nil, err
	}
	added := tree.Tree{{Path: "/lib/modules-load.d/" + p.Image() + ".conf", Type: tree.File, Mode: 0o644, Size: int64(len(list)), SHA256: d}}
	for _, name := range paths {
		e, err := m.fromBase(usr, name)
		if err != nil {
			return nil, err
		}
		added = append(added, e)
	}
	merged, conflicts := tree.Merge(content, added.WithParents(nil).Below("/usr"))
	if len(conflicts) > 0 {
		return nil, fmt.Errorf("kernel modules conflict with the recipes at %s: %v and %v", conflicts[0].A.Path, conflicts[0].A, conflicts[0].B)
	}
	return merged, nil
}

// fromBase adds a file of the base's /usr to the blobs.
func (m *Maker) fromBase(usr *os.Root, name string) (tree.Entry, error) {
	f, err := usr.Open(name)
	if err != nil {
		return tree.Entry{}, err
	}
	defer f.Close()
	d, n, err := m.Bench.Blobs.Add(f)
	return tree.Entry{Path: "/" + name, Type: tree.File, Mode: 0o644, Size: n, SHA256: d}, err
}

func (m *Maker) keep(content string) (digest.SHA256, error) {
	d, _, err := m.Bench.Blobs.Add(strings.NewReader(content))
	return d, err
}

// SecondStage returns the files for the base's second stage, of all platforms that need them there.
func (m *Maker) SecondStage(made []manifest.Initrd) ([]embed.File, error) {
	if !TwoStages(m.Base) {
		return nil, nil
	}
	files := map[string]embed.File{}
	for _, p := range m.Choice.Chosen {
		if p.Initrd == nil || !p.Initrd.SecondStage {
			continue
		}
		enabling, err := m.Enabling(p)
		if err != nil {
			return nil, err
		}
		image := made[slices.IndexFunc(made, func(i manifest.Initrd) bool { return i.Platform == p.ID.Value })].Image
		own, err := m.Host.EnableFor(p.KernelID.Value, enabling, image.SHA256, m.BaseFile)
		if err != nil {
			return nil, fmt.Errorf("platform %s, second stage of the initramfs: %w", p.ID, err)
		}
		for _, f := range own {
			files[f.Path] = f // shared files are identical
		}
	}
	return slices.SortedFunc(maps.Values(files), func(a, b embed.File) int { return strings.Compare(a.Path, b.Path) }), nil
}

// Enabling returns how to make an initramfs merge a platform's image.
func (m *Maker) Enabling(p *platform.Platform) (initrd.Enabling, error) {
	systemd := m.Base.Features
	return initrd.Enabling{Image: p.Image(), Systemd: systemd, Modules: len(p.Initrd.AllModules()) > 0}, systemd.Check()
}

// BaseFile reads a file of the base's /usr.
func (m *Maker) BaseFile(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(m.Base.Usr, name))
}
