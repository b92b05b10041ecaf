package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/fit"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/stage"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/cpio"
	"github.com/flatcar/oem-sysext/release/format/ddi"
	"github.com/flatcar/oem-sysext/release/format/initramfs"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/plan/early/initrd"
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

// countInitrds counts the largest image for an initramfs in what machines have for kernel and initramfs, and in what those have in
// memory that boot from the network: each of them loads one. These are the last two budgets.
func countInitrds(budgets []fit.Budget, made []manifest.Initrd) ([]fit.Budget, error) {
	budgets = slices.Clone(budgets)
	for n, suffix := range []string{systemdForm, pxeForm} {
		var largest manifest.File
		for _, i := range made {
			if f := formOf(i, suffix); f.Size > largest.Size {
				largest = f
			}
		}
		b := &budgets[len(budgets)-2+n]
		if b.Used += largest.Size; b.Left() < 0 {
			return nil, fmt.Errorf("%s: %v are taken with %s (%v), and the layout has room for %v; see %s", b.Name, b.Used, largest.Name, largest.Size, b.Limit, layoutsFile)
		}
	}
	return budgets, nil
}

// formOf returns the file of a form; none has no name.
func formOf(i manifest.Initrd, suffix string) manifest.File {
	n := slices.IndexFunc(i.Files, func(f manifest.File) bool { return strings.HasSuffix(f.Name, suffix) })
	if n < 0 {
		return manifest.File{}
	}
	return i.Files[n]
}

// initrds makes the images for initramfs, in all forms that suit the base.
func (w *workshop) initrds(ctx context.Context) ([]manifest.Initrd, error) {
	var asking []*platform.Platform
	for _, p := range w.chosen {
		if q := p.ForInitrd(); q != nil {
			asking = append(asking, q)
		}
	}
	if len(asking) == 0 || w.madeInitrds != nil {
		return w.madeInitrds, nil
	}
	host, err := w.initrdHost(ctx)
	if err != nil {
		return nil, err
	}
	w.madeInitrds, err = w.initrdsOf(ctx, asking, host)
	return w.madeInitrds, err
}

// initrdsOf makes the images of platforms for an initramfs.
func (w *workshop) initrdsOf(ctx context.Context, asking []*platform.Platform, host *initrd.Host) ([]manifest.Initrd, error) {
	factory, err := w.factory(ctx)
	if err != nil {
		return nil, err
	}
	defer w.downloads.End()
	staged, err := factory.Stage(ctx, asking)
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

// twoStages tells whether nothing of what a kernel unpacks survives but what it finds in /usr.
func (w *workshop) twoStages() bool {
	_, found := w.target.Usr.Find("/usr/" + activate.SecondStage)
	return found
}

// initrdHost reads the base's initramfs that merges images: its second stage where it has one. It is nil where the kernel
// holds it.
func (w *workshop) initrdHost(ctx context.Context) (host *initrd.Host, err error) {
	switch {
	case w.twoStages():
		host, err = w.secondStageHost(ctx)
	case w.base.Initrd != "":
		var f *os.File
		if f, err = os.Open(w.base.Initrd); err != nil {
			return nil, err
		}
		defer f.Close()
		host, err = initrd.Look(f)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("initramfs of the base: %w", err)
	}
	if host.VersionID != "" && host.VersionID != w.base.VersionID {
		return nil, fmt.Errorf("the base's initramfs has VERSION_ID=%s and its /usr %s; wanted none or the same, so that both merge an image",
			host.VersionID, w.base.VersionID)
	}
	return host, nil
}

func (w *workshop) secondStageHost(ctx context.Context) (*initrd.Host, error) {
	dir, err := os.MkdirTemp(w.scratch.Dir, "stage.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	files := filepath.Join(dir, "files")
	if err := activate.Extract(ctx, w.tools, filepath.Join(w.base.Usr, activate.SecondStage), files); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(files)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return initrd.LookIn(root.FS())
}

// findEarly makes what goes into the base's second stage, for the platforms that ask for it, and counts what it takes of /usr.
func (w *workshop) findEarly(ctx context.Context, empty partition) error {
	asks := func(p *platform.Platform) bool { return p.Initrd != nil && p.Initrd.SecondStage }
	if !w.twoStages() || !slices.ContainsFunc(w.chosen, asks) {
		return nil
	}
	made, err := w.initrds(ctx)
	if err != nil {
		return err
	}
	host, err := w.initrdHost(ctx)
	if err != nil {
		return err
	}
	files := map[string]embed.File{}
	for _, p := range w.chosen {
		if !asks(p) {
			continue
		}
		enabling, err := w.enabling(p)
		if err != nil {
			return err
		}
		image := made[slices.IndexFunc(made, func(i manifest.Initrd) bool { return i.Platform == p.ID.Value })].Image
		own, err := host.EnableFor(p.KernelID.Value, enabling, image.SHA256, w.baseFile)
		if err != nil {
			return fmt.Errorf("platform %s, for the second stage of the initramfs: %w", p.ID, err)
		}
		for _, f := range own {
			files[f.Path] = f // what several need is the same
		}
	}
	w.early = slices.SortedFunc(maps.Values(files), func(a, b embed.File) int { return strings.Compare(a.Path, b.Path) })
	stage, err := w.secondStage(ctx, empty, w.early)
	w.earlySize = stage.Grown
	return err
}

func (w *workshop) enabling(p *platform.Platform) (initrd.Enabling, error) {
	systemd, err := w.systemdVersion()
	return initrd.Enabling{Image: p.Image(), Systemd: systemd, Modules: len(p.Initrd.AllModules()) > 0}, err
}

// baseFile reads a file of the base's /usr.
func (w *workshop) baseFile(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(w.base.Usr, name))
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
	made.SecondStage = p.Initrd.SecondStage && w.twoStages()
	made.Modules = p.Initrd.AllModules()
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

// withModules adds the modules that a platform and its recipes name for the initramfs, and the list by which they are loaded there.
func (w *workshop) withModules(content tree.Tree, p *platform.Platform, host *initrd.Host) (tree.Tree, error) {
	names := p.Initrd.AllModules()
	if len(names) == 0 {
		return content, nil
	}
	list := strings.Join(names, "\n") + "\n"
	usr, err := os.OpenRoot(w.base.Usr)
	if err != nil {
		return nil, err
	}
	defer usr.Close()
	paths, err := host.Modules(usr.FS(), w.base.Release, names)
	if err != nil {
		return nil, err
	}
	d, err := w.keep(list)
	if err != nil {
		return nil, err
	}
	added := tree.Tree{{Path: "/lib/modules-load.d/" + p.Image() + ".conf", Type: tree.File, Mode: 0o644, Size: int64(len(list)), SHA256: d}}
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
	if host == nil || w.twoStages() {
		w.Log.Info("no archive to append to an initramfs: nothing that is appended gets to where this base merges images", "platform", p.ID)
		return forms, nil
	}
	enabling, err := w.enabling(p)
	if err != nil {
		return nil, err
	}
	files, err := host.Enable(enabling, w.baseFile)
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
	w, err := openForImages(ctx, o)
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
func ListInitrd(file string, out io.Writer) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var unsigned []error
	err = initramfs.List(out, f, func(m initramfs.Member, content io.Reader) error {
		problem, err := stubProblem(m, content)
		unsigned = append(unsigned, problem)
		return err
	})
	if err = errors.Join(append(unsigned, err)...); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// stubProblem says why systemd would not merge an image that lies where systemd-stub leaves images.
func stubProblem(m initramfs.Member, content io.Reader) (problem, err error) {
	if dir := path.Dir(path.Clean(m.Name)); dir != ".extra/sysext" && dir != ".extra/global_sysext" || m.Mode&cpio.ModeType != cpio.ModeFile {
		return nil, nil
	}
	image, err := os.CreateTemp("", "image.")
	if err != nil {
		return nil, err
	}
	defer os.Remove(image.Name())
	defer image.Close()
	n, err := io.Copy(image, content)
	if err != nil {
		return nil, err
	}
	if _, err := ddi.Read(image, n); err != nil {
		return fmt.Errorf("%s has no signature that fits it, and systemd wants one of images that a boot loader brings: %w", m.Name, err), nil
	}
	return nil, nil
}
