package release

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/stage"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/plan/compose/extension"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// composed is an extension of the release beside the OEM tools, read and judged.
type composed struct {
	*profiles.Extension
	Tree    tree.Tree
	Needs   []string // options of a kernel that mounts the image as it came
	Inputs  []build.Input
	Coupled bool              // it has to be made again for each release of the OS
	Trusted *x509.Certificate // by which machines verify it, when it came with a signature
	AsIs    bool              // it is embedded byte for byte
	File    string            // in the images' directory; empty when it is flattened

	// The image and what it takes, which for one that is not embedded as it came the plan decides.
	onDisk
	Cost size.Bytes
}

// compose reads the extensions of the profile and proves that each runs on the base, and beside everything else that it can be
// active with. The error has everything that is wrong with any of them.
func (w *workshop) compose(ctx context.Context, factory *oem.Factory, staged []oem.Staged) ([]*composed, error) {
	if len(w.profile.Extensions) == 0 {
		return nil, nil
	}
	judge, err := w.newJudge(factory)
	if err != nil {
		return nil, err
	}
	all := make([]*composed, len(w.profile.Extensions))
	mistakes := make([]error, len(all))
	step := w.Progress.Items("extensions", len(all))
	defer step.End()
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(max(1, w.Jobs))
	for i := range all {
		group.Go(func() error {
			defer step.Add(1)
			x := &w.profile.Extensions[i]
			if all[i], mistakes[i] = judge.one(running, x); mistakes[i] != nil {
				mistakes[i] = fmt.Errorf("%s %w", w.profile.Where(x), mistakes[i])
			}
			return running.Err()
		})
	}
	if err := errors.Join(append(mistakes, group.Wait())...); err != nil {
		return nil, err
	}
	w.placeFiles(all)
	return all, w.together(all, staged)
}

// judge is what extensions are read and judged with.
type judge struct {
	*workshop
	factory *oem.Factory
	reader  *extension.Reader
	checker *check.Checker
	os      extension.OS
}

func (w *workshop) newJudge(factory *oem.Factory) (*judge, error) {
	checker, err := check.New(w.target, w.blobs, w.results, w.scratch.Dir)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(filepath.Join(w.base.Usr, "lib/os-release"))
	if err != nil {
		return nil, err
	}
	o, err := extension.ParseOS(content, w.Arch)
	reader := &extension.Reader{Tools: w.tools, Blobs: w.blobs, Results: w.results, Scratch: w.scratch.Dir, Arch: w.Arch}
	return &judge{w, factory, reader, checker, o}, err
}

// one reads and judges an extension. When it is for another release of the OS, the recipe that rebuilds it is taken instead.
func (j *judge) one(ctx context.Context, x *profiles.Extension) (*composed, error) {
	made, err := j.oneOf(ctx, x)
	coupled := (*extension.CoupledError)(nil)
	if !errors.As(err, &coupled) || x.Rebuild == nil {
		return made, err
	}
	if x.Rebuild.Recipe.Value == "" {
		return nil, fmt.Errorf("%w; to rebuild it: %s", err, x.Rebuild.Command)
	}
	j.Log.Warn("an extension is built anew", "extension", x.Name.Value, "because it", err, "recipe", x.Rebuild.Recipe.Value)
	again := *x
	again.File, again.Directory, again.URL, again.GitHub = profiles.Nothing, profiles.Nothing, nil, nil
	again.Recipe, again.Certificate = x.Rebuild.Recipe, profiles.Nothing
	return j.oneOf(ctx, &again)
}

func (j *judge) oneOf(ctx context.Context, x *profiles.Extension) (*composed, error) {
	made, err := j.obtain(ctx, x)
	if err != nil {
		return nil, err
	}
	said, err := extension.ReleaseOf(made.Tree, x.Name.Value, j.blobs)
	if err != nil {
		return nil, err
	}
	if err := said.Fits(j.os); err != nil {
		return nil, err
	}
	made.Coupled = said.Coupled(j.os)
	problems := stage.Foreign(made.Tree, j.target)
	if clash := j.clash(x.Name.Value); clash != "" {
		problems = append(problems, clash)
	}
	problems = append(problems, j.inTheWay(made.Tree)...)
	if made.AsIs {
		problems = append(problems, j.unreadable(made.Needs)...)
	}
	if x.Flatten {
		problems = append(problems, notFlat(made.Tree)...)
	}
	found, err := j.checker.Tree(ctx, made.Tree)
	for _, p := range found {
		problems = append(problems, p.String())
	}
	if len(problems) > 0 {
		err = errors.Join(errors.New("cannot be in this release:\n  "+strings.Join(problems, "\n  ")), err)
	}
	return made, err
}

// obtain gets an extension from where the profile says it is, and reads it.
func (j *judge) obtain(ctx context.Context, x *profiles.Extension) (*composed, error) {
	made := &composed{Extension: x}
	switch {
	case x.Directory.Value != "":
		return made, j.ofDirectory(made)
	case x.Recipe.Value != "":
		return made, j.ofRecipe(ctx, made)
	}
	file, input, err := j.fetch(ctx, x)
	if err != nil {
		return nil, err
	}
	content, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	d, n, err := j.blobs.Add(content)
	content.Close()
	if err != nil {
		return nil, err
	}
	input.Digest = "sha256:" + d.String()
	made.Inputs = []build.Input{input}
	var trusted []*x509.Certificate
	if x.Certificate.Value != "" {
		if made.Trusted, err = sign.ReadCertificate(j.profile.Path(x.Certificate.Value)); err != nil {
			return nil, err
		}
		trusted = append(trusted, made.Trusted)
	}
	read, err := j.reader.Read(ctx, d, trusted)
	if err != nil {
		return nil, err
	}
	switch {
	case x.Repack && !read.RootHash.IsZero():
		return nil, errors.New("is signed, which repacking it would undo; remove repack, or take an image without a signature")
	case read.RootHash.IsZero():
		made.Trusted = nil
	}
	made.Tree, made.Needs, made.AsIs = read.Tree, read.Needs, !x.Repack && !x.Flatten
	made.onDisk = onDisk{pack.Image{SHA256: d, Size: size.Bytes(n)}, read.RootHash}
	return made, nil
}

func (j *judge) ofDirectory(made *composed) error {
	scanned, err := tree.Scan(j.profile.Path(made.Directory.Value), j.blobs.Add)
	if err != nil {
		return err
	}
	for i := range scanned {
		scanned[i].UID, scanned[i].GID = 0, 0 // whoever made it
	}
	d := digest.Of([]byte(scanned.Listing()))
	made.Inputs = []build.Input{{Kind: "dir", Name: made.Name.Value, Version: made.Version.Value, Digest: "sha256:" + d.String()}}
	made.Tree, err = j.withRelease(made, scanned)
	return err
}

func (j *judge) ofRecipe(ctx context.Context, made *composed) error {
	t, parts, err := j.factory.Recipe(ctx, made.Recipe.Value, j.recipes)
	if err != nil {
		return err
	}
	for _, part := range parts {
		made.Inputs = append(made.Inputs, part.Inputs...)
	}
	made.Tree, err = j.withRelease(made, t)
	return err
}

// withRelease adds what says that a tree is for this base, unless it says something itself.
func (j *judge) withRelease(made *composed, t tree.Tree) (tree.Tree, error) {
	if len(t.Under("/usr/lib/extension-release.d")) > 0 {
		return t, nil
	}
	return stage.WithRelease(t, stage.Release{Image: made.Name.Value, Title: made.Name.Value}, j.target, func(content string) (digest.SHA256, error) {
		d, _, err := j.blobs.Add(strings.NewReader(content))
		return d, err
	})
}

// clash says whether the base has an extension of the name.
func (j *judge) clash(name string) string {
	for _, dir := range []string{"/usr/share/flatcar/sysext", "/usr/share/flatcar/etc/extensions", "/usr/share/flatcar/oem-sysext", "/usr/lib/extensions"} {
		for _, file := range []string{name, name + ".raw", name + "-flatcar.raw"} {
			if _, has := j.target.Usr.Find(path.Join(dir, file)); has && !slices.Contains(j.base.Embeds, file) {
				return fmt.Sprintf("its name is taken: the base has %s; give it another one where it is made", path.Join(dir, file))
			}
		}
	}
	return ""
}

// inTheWay returns what a tree has where the release puts something itself, which a merge of it would hide.
func (j *judge) inTheWay(t tree.Tree) []string {
	own := []string{"/usr/" + embed.Dir}
	for _, f := range j.certificates("") {
		own = append(own, "/usr/"+f.Path)
	}
	for _, name := range slices.Concat(activate.Paths(), j.updatePaths()) {
		own = append(own, "/usr/"+name)
	}
	var problems []string
	for _, e := range t {
		hides := func(own string) bool {
			return strings.HasPrefix(e.Path+"/", own+"/") || e.Type != tree.Dir && strings.HasPrefix(own, e.Path+"/")
		}
		if i := slices.IndexFunc(own, hides); i >= 0 {
			problems = append(problems, fmt.Sprintf("%q is in the way of %s, which is the release's own; leave it out where it is made", e.Path, own[i]))
		}
	}
	return problems
}

// unreadable returns what the base's kernel lacks to mount an image. On a machine that would stop the merge of all others, too.
func (j *judge) unreadable(options []string) []string {
	var problems []string
	for _, option := range options {
		if !j.target.Kernel.Has(option) {
			problems = append(problems, fmt.Sprintf("its file system needs CONFIG_%s, which the base's kernel does not have; set repack: true, or make it with another compressor", option))
		}
	}
	return problems
}

// placeFiles decides how images are called in /usr. Versions lie in a directory as systemd-sysext looks for them since 256, so
// that a link to that gives the newest one; an older one cannot be led astray by it.
func (w *workshop) placeFiles(all []*composed) {
	version, err := w.systemdVersion()
	for _, x := range all {
		name := x.Name.Value
		file := name + "_" + x.Version.Value + ".raw"
		switch alone := !slices.ContainsFunc(all, func(o *composed) bool { return o != x && o.Name.Value == name }); {
		case x.Flatten:
		case alone:
			x.File = name + ".raw"
		case err == nil && version >= 256:
			x.File = path.Join(name+".raw.v", file)
		default:
			x.File = file
		}
	}
}

// together proves that the order does not matter in which anything is merged that can be active at the same time.
func (w *workshop) together(all []*composed, staged []oem.Staged) error {
	var mistakes []error
	pair := func(a, b check.Named) {
		for _, p := range check.Together([]check.Named{a, b}) {
			mistakes = append(mistakes, errors.New(p.String()))
		}
	}
	for i, x := range all {
		own := check.Named{Name: w.profile.Where(x.Extension), Tree: x.Tree}
		for _, s := range staged {
			if x.Enable == nil || x.Enable.How != profiles.OnPlatforms || slices.Contains(x.Enable.IDs(), s.Platform.ID.Value) {
				pair(own, check.Named{Name: s.Platform.Image(), Tree: s.Tree})
			}
		}
		for _, other := range all[:i] {
			if other.Name.Value != x.Name.Value {
				pair(own, check.Named{Name: w.profile.Where(other.Extension), Tree: other.Tree})
			}
		}
	}
	return errors.Join(mistakes...)
}

// choices are what machines may choose from.
func (w *workshop) choices() []activate.Extension {
	var choices []activate.Extension
	for _, x := range w.extensions {
		if x.Flatten {
			continue
		}
		v := activate.Version{Name: x.Version.Value, File: x.File, Default: x.Default}
		i := slices.IndexFunc(choices, func(c activate.Extension) bool { return c.Name == x.Name.Value })
		if i < 0 {
			i = len(choices)
			choices = append(choices, activate.Extension{Name: x.Name.Value, Always: x.Enable.How == profiles.Always, Platforms: x.Enable.IDs()})
		}
		choices[i].Versions = append(choices[i].Versions, v)
	}
	return choices
}
