package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/atomicfile"
	"github.com/flatcar/oem-sysext/oem/digest"
	"github.com/flatcar/oem-sysext/oem/pack"
	"github.com/flatcar/oem-sysext/oem/platform"
	"github.com/flatcar/oem-sysext/oem/size"
	"github.com/flatcar/oem-sysext/oem/stage"
	"github.com/flatcar/oem-sysext/oem/store"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/activate"
	"github.com/flatcar/oem-sysext/release/initramfs"
	"github.com/flatcar/oem-sysext/release/initrd"
	"github.com/flatcar/oem-sysext/release/manifest"
	"github.com/flatcar/oem-sysext/release/sign"
)

// The forms of a platform's image for initramfs, by how their files' names end.
const (
	systemdForm = ".initrd.cpio.zst" // to append to an initramfs of systemd
	pxeForm     = ".pxe.cpio.gz"     // to pass to Flatcar's kernel when it boots from the network
	imageForm   = ".sysext.raw"      // to lie beside a unified kernel image
	stubForm    = ".sysext.cpio"     // what systemd-stub makes of that
)

// initrdScope says where an image may be merged: in an initramfs, and in the system that it is handed over to.
const initrdScope = "initrd system"

// addInitrds adds the images for initramfs of the platforms that ask for one. The largest one counts in what machines
// have for kernel and initramfs, as each of them loads one.
func (w *workshop) addInitrds(ctx context.Context, m *manifest.Manifest) error {
	made, err := w.initrds(ctx)
	if err != nil || len(made) == 0 {
		return err
	}
	m.Initrds = made
	var largest manifest.File
	for _, i := range made {
		for _, f := range i.Files {
			m.Add(f)
			if strings.HasSuffix(f.Name, systemdForm) && f.Size > largest.Size {
				largest = f
			}
		}
	}
	for i := range m.Plan.Budgets {
		if b := &m.Plan.Budgets[i]; b.Name == bootBudgetName {
			b.Used += largest.Size
			if b.Left() < 0 {
				return fmt.Errorf("kernel and initramfs take %v with %s (%v), and the layout has room for %v; see %s",
					b.Used, largest.Name, largest.Size, b.Limit, layoutsFile)
			}
		}
	}
	return nil
}

// initrds makes the images for initramfs, in all forms that suit the base.
func (w *workshop) initrds(ctx context.Context) ([]manifest.Initrd, error) {
	var asking []*platform.Platform
	for _, p := range w.chosen {
		if q := p.ForInitrd(); q != nil {
			asking = append(asking, q)
		}
	}
	if len(asking) == 0 {
		return nil, nil
	}
	factory, err := w.factory(ctx)
	if err != nil {
		return nil, err
	}
	defer w.downloads.End()
	staged, err := factory.Stage(ctx, asking)
	if err != nil {
		return nil, err
	}
	host, err := w.initrdHost()
	if err != nil {
		return nil, err
	}
	key, err := w.stubKey()
	if err != nil {
		return nil, err
	}
	var made []manifest.Initrd
	for _, s := range staged {
		i, err := w.initrdOf(ctx, factory, s, host, key)
		if missing := (*sign.MissingError)(nil); errors.As(err, &missing) {
			continue // all that are missing are asked for at once
		}
		if err != nil {
			return nil, fmt.Errorf("platform %s, for initramfs: %w", s.Platform.ID, err)
		}
		made = append(made, i)
	}
	return made, key.Finish()
}

// initrdHost reads the base's initramfs. There is none to append to where the kernel holds it, nor where nothing of it
// survives but what it finds in /usr.
func (w *workshop) initrdHost() (*initrd.Host, error) {
	_, twoStages := w.target.Usr.Find("/usr/" + activate.SecondStage)
	if w.base.Initrd == "" || twoStages {
		w.Log.Info("no archives to append to an initramfs: nothing that is appended gets to where this base merges images")
		return nil, nil
	}
	f, err := os.Open(w.base.Initrd)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	host, err := initrd.Look(f)
	if err != nil {
		return nil, fmt.Errorf("initramfs of the base: %w", err)
	}
	if host.VersionID != "" && host.VersionID != w.base.VersionID {
		return nil, fmt.Errorf("the base's initramfs has VERSION_ID=%s and its /usr %s; wanted none or the same, so that both merge an image",
			host.VersionID, w.base.VersionID)
	}
	return host, nil
}

// stubKey returns what images are signed with that systemd-stub passes on: no initramfs merges others.
func (w *workshop) stubKey() (*sign.Signer, error) {
	if w.imageKey != nil {
		return w.imageKey, nil
	}
	files := w.Extensions
	files.Cache = w.Cache
	key, err := sign.Open(files)
	if err == nil && key.Certificate() == nil {
		err = errors.New("no certificate of the key, which machines need to verify images")
	}
	if err != nil {
		return nil, fmt.Errorf("SYSEXT_KEY, SYSEXT_CERTIFICATE, SYSEXT_SIGNATURES: %w", err)
	}
	return key, nil
}

// initrdOf makes one platform's image and its forms.
func (w *workshop) initrdOf(ctx context.Context, factory *oem.Factory, s oem.Staged, host *initrd.Host, key *sign.Signer) (made manifest.Initrd, err error) {
	p := s.Platform
	release := stage.Release{Image: p.Image(), Title: p.Name + " OEM tools", Homepage: p.Homepage, Scope: initrdScope}
	content, err := stage.WithRelease(s.Tree, release, w.target, w.keep)
	if err != nil {
		return made, err
	}
	if content, err = w.withModules(content, p, host); err != nil {
		return made, err
	}
	packed, err := factory.Packer.Image(ctx, content, pack.Default)
	if err != nil {
		return made, err
	}
	signed, err := w.signImage(ctx, strings.TrimSuffix(p.Image()+imageForm, ".raw"), packed, key)
	if err != nil {
		return made, err
	}
	merged := packed
	if w.imageKey != nil {
		merged = signed.Image
	}
	made = manifest.Initrd{
		Platform: p.ID.Value, Rung: packed.Rung, RootHash: signed.RootHash,
		Image: manifest.Installed{Size: merged.Size, SHA256: merged.SHA256},
	}
	for _, r := range s.Recipes {
		made.Recipes = append(made.Recipes, r.Recipe.Name.Value)
	}
	for _, module := range p.Initrd.Modules {
		made.Modules = append(made.Modules, module.Value)
	}
	forms, err := w.forms(p, host)
	if err != nil {
		return made, err
	}
	made.Files = append(made.Files, manifest.File{Name: p.Image() + imageForm, Size: signed.Size, SHA256: signed.SHA256})
	for _, f := range forms {
		image := merged
		if f.suffix == stubForm {
			image = signed.Image
		}
		file, err := w.writeForm(ctx, p.Image(), f, image)
		if err != nil {
			return made, err
		}
		made.Files = append(made.Files, file)
	}
	return made, nil
}

// withModules adds the modules that a platform names for the initramfs, and the list by which they are loaded there.
func (w *workshop) withModules(content tree.Tree, p *platform.Platform, host *initrd.Host) (tree.Tree, error) {
	if len(p.Initrd.Modules) == 0 {
		return content, nil
	}
	var list strings.Builder
	var names []string
	for _, module := range p.Initrd.Modules {
		names = append(names, module.Value)
		list.WriteString(module.Value + "\n")
	}
	usr, err := os.OpenRoot(w.base.Usr)
	if err != nil {
		return nil, err
	}
	defer usr.Close()
	paths, err := host.Modules(usr.FS(), w.base.Release, names)
	if err != nil {
		return nil, err
	}
	d, err := w.keep(list.String())
	if err != nil {
		return nil, err
	}
	added := tree.Tree{{Path: "/lib/modules-load.d/" + p.Image() + ".conf", Type: tree.File, Mode: 0o644, Size: int64(list.Len()), SHA256: d}}
	for _, name := range paths {
		e, err := w.fromBase(usr, name)
		if err != nil {
			return nil, err
		}
		added = append(added, e)
	}
	merged, conflicts := tree.Merge(content, withParents(added).Below("/usr"))
	if len(conflicts) > 0 {
		return nil, fmt.Errorf("%s, for modules, is %v and %v", conflicts[0].A.Path, conflicts[0].A, conflicts[0].B)
	}
	return merged, nil
}

// fromBase keeps a file of the base's /usr.
func (w *workshop) fromBase(usr *os.Root, name string) (tree.Entry, error) {
	f, err := usr.Open(name)
	if err != nil {
		return tree.Entry{}, err
	}
	defer f.Close()
	d, n, err := w.blobs.Add(f)
	return tree.Entry{Path: "/" + name, Type: tree.File, Mode: 0o644, Size: n, SHA256: d}, err
}

// withParents adds the directories that files are in.
func withParents(files tree.Tree) tree.Tree {
	dirs := map[string]bool{}
	all := slices.Clone(files)
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "/" && !dirs[dir]; dir = path.Dir(dir) {
			dirs[dir] = true
			all = append(all, tree.Entry{Path: dir, Type: tree.Dir, Mode: 0o755})
		}
	}
	return tree.Sorted(all)
}

func (w *workshop) keep(content string) (digest.SHA256, error) {
	d, _, err := w.blobs.Add(strings.NewReader(content))
	return d, err
}

// form is one archive around an image.
type form struct {
	suffix string
	packed initramfs.Compression
	inputs any // beside the image
	write  func(io.Writer, initrd.Image) error
}

// forms returns the archives that a platform's image goes into.
func (w *workshop) forms(p *platform.Platform, host *initrd.Host) ([]form, error) {
	forms := []form{
		{pxeForm, initramfs.Gzip, []any{p.ID.Value, p.Name, w.base.Version}, func(out io.Writer, i initrd.Image) error {
			return initrd.PXE(out, p.ID.Value, p.Name, w.base.Version, i, w.Epoch)
		}},
		{stubForm, initramfs.None, nil, initrd.Stub},
	}
	if host == nil {
		return forms, nil
	}
	text, _, _ := strings.Cut(w.base.Systemd, ".")
	systemd, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("systemd of the base is %q; wanted a version", w.base.Systemd)
	}
	files, err := host.Enable(p.Image(), systemd, len(p.Initrd.Modules) > 0, func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(w.base.Usr, name)) })
	if err != nil {
		return nil, err
	}
	files = append(files, w.certificates("usr/")...)
	return append(forms, form{systemdForm, initramfs.Zstd, files, func(out io.Writer, i initrd.Image) error {
		return initrd.Systemd(out, i, files, w.Epoch)
	}}), nil
}

// writeForm writes an archive to the blobs.
func (w *workshop) writeForm(ctx context.Context, name string, f form, image pack.Image) (manifest.File, error) {
	inputs := []any{name, f.suffix, f.inputs, image.SHA256, w.Epoch.Unix(), compressorVersion()}
	made, err := store.Memo(ctx, w.results, "initrd", inputs, blobs, func() (made manifest.Installed, err error) {
		content, err := os.Open(w.blobs.Path(image.SHA256))
		if err != nil {
			return made, err
		}
		defer content.Close()
		path := filepath.Join(w.scratch.Dir, name+f.suffix)
		defer os.Remove(path) // gone already when all went well
		err = atomicfile.Write(path, 0o644, func(out io.Writer) error {
			return f.to(out, initrd.Image{Name: name, Size: int64(image.Size), Content: content})
		})
		if err != nil {
			return made, err
		}
		d, n, err := w.blobs.AddFile(path)
		return manifest.Installed{Size: size.Bytes(n), SHA256: d}, err
	})
	return manifest.File{Name: name + f.suffix, Size: made.Size, SHA256: made.SHA256}, err
}

func (f form) to(out io.Writer, image initrd.Image) error {
	packed, err := f.packed.NewWriter(out)
	if err != nil {
		return err
	}
	return errors.Join(f.write(packed, image), packed.Close())
}

// Initrd makes the images for initramfs of the platforms that ask for one, and writes them to OUTPUT/initrd/ARCH.
func Initrd(ctx context.Context, o Options) ([]manifest.Initrd, error) {
	w, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer w.close()
	made, err := w.initrds(ctx)
	if err != nil {
		return nil, err
	}
	if len(made) == 0 {
		return nil, errors.New("no platform that was asked for has an image for initramfs; say initrd: in its file (platforms/README.md)")
	}
	dir := filepath.Join(o.Output, "initrd", string(o.Arch))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, i := range made {
		for _, f := range i.Files {
			if err := w.writeBlob(filepath.Join(dir, f.Name), f.SHA256); err != nil {
				return nil, err
			}
		}
	}
	return made, nil
}

// PrintInitrds writes for people which files there are, and what is around the image in them.
func PrintInitrds(out io.Writer, made []manifest.Initrd) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FILE\tSIZE\tIMAGE\tRECIPES")
	for _, i := range made {
		for _, f := range i.Files {
			fmt.Fprintf(table, "%s\t%v\t%v\t%s\n", f.Name, f.Size, i.Image.Size, strings.Join(i.Recipes, " "))
		}
	}
	return table.Flush()
}

// ListInitrd writes for people what a kernel would unpack of a file. The first rule that the file breaks is the error.
func ListInitrd(path string, out io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := initramfs.List(out, f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
