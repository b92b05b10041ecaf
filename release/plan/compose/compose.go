// Package compose reads extensions that other people made, and proves that they run on the base and go together.
package compose

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
	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/stage"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/bases/features"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/plan/compose/extension"
	"github.com/flatcar/oem-sysext/release/plan/signed"
	"github.com/flatcar/oem-sysext/release/profiles"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Extension is one of the release beside the OEM tools, read and judged.
type Extension struct {
	*profiles.Extension
	Tree    tree.Tree
	Needs   []string // options of a kernel that mounts the image as it came
	Inputs  []input.Input
	Coupled bool              // it has to be made again for each release of the OS
	Trusted *x509.Certificate // by which machines verify it, when it came with a signature
	AsIs    bool              // it is embedded byte for byte
	File    string            // in the images' directory; empty when it is flattened
	Came    signed.Image      // the image of one that is embedded as it came
}

// Composer reads and judges extensions of other people.
type Composer struct {
	bench   *setup.Bench
	choice  *setup.Choice
	base    *bases.Base
	factory *oem.Factory
	own     []string // paths of what the release itself puts into /usr
	reader  *extension.Reader
	checker *check.Checker
	os      extension.OS
}

// New returns what reads the extensions of a profile. own are the files that the release puts into /usr itself.
func New(bench *setup.Bench, choice *setup.Choice, base *bases.Base, factory *oem.Factory, own []string) (*Composer, error) {
	checker, err := check.New(base.Target, bench.Blobs, bench.Results, bench.Scratch)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(filepath.Join(base.Usr, osReleaseFile))
	if err != nil {
		return nil, err
	}
	o, err := extension.ParseOS(content, base.Arch)
	reader := &extension.Reader{Tools: bench.Tools, Blobs: bench.Blobs, Results: bench.Results, Scratch: bench.Scratch, Arch: base.Arch}
	return &Composer{bench, choice, base, factory, own, reader, checker, o}, err
}

// Compose reads the extensions of the profile and proves that each runs on the base, and beside everything else that it can be
// active with. The error has everything that is wrong with any of them.
func (c *Composer) Compose(ctx context.Context, staged []oem.Staged) ([]*Extension, error) {
	wanted := c.choice.Profile.Extensions
	all := make([]*Extension, len(wanted))
	mistakes := make([]error, len(all))
	step := c.bench.Progress.Items("extensions", len(all))
	defer step.End()
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(c.bench.Jobs)
	for i := range all {
		group.Go(func() error {
			defer step.Add(1)
			if all[i], mistakes[i] = c.one(running, &wanted[i]); mistakes[i] != nil {
				mistakes[i] = fmt.Errorf("%s %w", c.choice.Profile.Where(&wanted[i]), mistakes[i])
			}
			return running.Err()
		})
	}
	if err := errors.Join(append(mistakes, group.Wait())...); err != nil {
		return nil, err
	}
	placeFiles(all, c.base.Features)
	return all, together(c.choice.Profile, all, staged)
}

// one reads and judges an extension. When it is for another release of the OS, the recipe that rebuilds it is taken instead.
func (c *Composer) one(ctx context.Context, x *profiles.Extension) (*Extension, error) {
	made, err := c.oneOf(ctx, x)
	coupled := (*extension.CoupledError)(nil)
	if !errors.As(err, &coupled) || x.Rebuild == nil {
		return made, err
	}
	if x.Rebuild.Recipe.Value == "" {
		return nil, fmt.Errorf("%w; to rebuild it: %s", err, x.Rebuild.Command)
	}
	c.bench.Log.Warn("an extension is built anew", "extension", x.Name.Value, "because it", err, "recipe", x.Rebuild.Recipe.Value)
	again := *x
	again.File, again.Directory, again.URL, again.GitHub = profiles.Nothing, profiles.Nothing, nil, nil
	again.Recipe, again.Certificate = x.Rebuild.Recipe, profiles.Nothing
	return c.oneOf(ctx, &again)
}

func (c *Composer) oneOf(ctx context.Context, x *profiles.Extension) (*Extension, error) {
	made, err := c.obtain(ctx, x)
	if err != nil {
		return nil, err
	}
	said, err := extension.ReleaseOf(made.Tree, x.Name.Value, c.bench.Blobs)
	if err != nil {
		return nil, err
	}
	if err := said.Fits(c.os); err != nil {
		return nil, err
	}
	made.Coupled = said.Coupled(c.os)
	problems := stage.Foreign(made.Tree, c.base.Target)
	if clash := c.clash(x.Name.Value); clash != "" {
		problems = append(problems, clash)
	}
	problems = append(problems, c.inTheWay(made.Tree)...)
	if made.AsIs {
		problems = append(problems, c.unreadable(made.Needs)...)
	}
	if x.Flatten {
		problems = append(problems, notFlat(made.Tree)...)
	}
	found, err := c.checker.Tree(ctx, made.Tree)
	for _, p := range found {
		problems = append(problems, p.String())
	}
	if len(problems) > 0 {
		err = errors.Join(errors.New("cannot be in this release:\n  "+strings.Join(problems, "\n  ")), err)
	}
	return made, err
}

// obtain gets an extension from where the profile says it is, and reads it.
func (c *Composer) obtain(ctx context.Context, x *profiles.Extension) (*Extension, error) {
	made := &Extension{Extension: x}
	switch {
	case x.Directory.Value != "":
		return made, c.ofDirectory(made)
	case x.Recipe.Value != "":
		return made, c.ofRecipe(ctx, made)
	}
	file, from, err := c.fetch(ctx, x)
	if err != nil {
		return nil, err
	}
	content, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	d, n, err := c.bench.Blobs.Add(content)
	content.Close()
	if err != nil {
		return nil, err
	}
	from.Digest = "sha256:" + d.String()
	made.Inputs = []input.Input{from}
	var trusted []*x509.Certificate
	if x.Certificate.Value != "" {
		if made.Trusted, err = sign.ReadCertificate(c.choice.Profile.Path(x.Certificate.Value)); err != nil {
			return nil, err
		}
		trusted = append(trusted, made.Trusted)
	}
	read, err := c.reader.Read(ctx, d, trusted)
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
	made.Came = signed.Image{Image: pack.Image{SHA256: d, Size: size.Bytes(n)}, RootHash: read.RootHash}
	return made, nil
}

func (c *Composer) ofDirectory(made *Extension) error {
	scanned, err := tree.Scan(c.choice.Profile.Path(made.Directory.Value), c.bench.Blobs.Add)
	if err != nil {
		return err
	}
	for i := range scanned {
		scanned[i].UID, scanned[i].GID = 0, 0 // whoever made it
	}
	d := digest.Of([]byte(scanned.Listing()))
	made.Inputs = []input.Input{{Kind: "dir", Name: made.Name.Value, Version: made.Version.Value, Digest: "sha256:" + d.String()}}
	made.Tree, err = c.withRelease(made, scanned)
	return err
}

func (c *Composer) ofRecipe(ctx context.Context, made *Extension) error {
	t, parts, err := c.factory.Recipe(ctx, made.Recipe.Value, c.choice.Recipes)
	if err != nil {
		return err
	}
	for _, part := range parts {
		made.Inputs = append(made.Inputs, part.Inputs...)
	}
	made.Tree, err = c.withRelease(made, t)
	return err
}

// withRelease adds what says that a tree is for this base, unless it says something itself.
func (c *Composer) withRelease(made *Extension, t tree.Tree) (tree.Tree, error) {
	if len(t.Under("/usr/lib/extension-release.d")) > 0 {
		return t, nil
	}
	return stage.WithRelease(t, stage.Release{Image: made.Name.Value, Title: made.Name.Value}, c.base.Target, func(content string) (digest.SHA256, error) {
		d, _, err := c.bench.Blobs.Add(strings.NewReader(content))
		return d, err
	})
}

// clash says whether the base has an extension of the name.
func (c *Composer) clash(name string) string {
	for _, dir := range []string{"/usr/share/flatcar/sysext", "/usr/share/flatcar/etc/extensions", "/usr/share/flatcar/oem-sysext", "/usr/lib/extensions"} {
		for _, file := range []string{name, name + ".raw", name + "-flatcar.raw"} {
			if _, has := c.base.Target.Usr.Find(path.Join(dir, file)); has && !slices.Contains(c.base.Embeds, file) {
				return fmt.Sprintf("its name is taken: the base has %s; give it another one where it is made", path.Join(dir, file))
			}
		}
	}
	return ""
}

// inTheWay returns what a tree has where the release puts something itself, which a merge of it would hide.
func (c *Composer) inTheWay(t tree.Tree) []string {
	var problems []string
	for _, e := range t {
		hides := func(own string) bool {
			return strings.HasPrefix(e.Path+"/", own+"/") || e.Type != tree.Dir && strings.HasPrefix(own, e.Path+"/")
		}
		if i := slices.IndexFunc(c.own, hides); i >= 0 {
			problems = append(problems, fmt.Sprintf("%q is in the way of %s, which is the release's own; leave it out where it is made", e.Path, c.own[i]))
		}
	}
	return problems
}

// unreadable returns what the base's kernel lacks to mount an image. On a machine that would stop the merge of all others, too.
func (c *Composer) unreadable(options []string) []string {
	var problems []string
	for _, option := range options {
		if !c.base.Target.Kernel.Has(option) {
			problems = append(problems, fmt.Sprintf("its file system needs CONFIG_%s, which the base's kernel does not have; set repack: true, or make it with another compressor", option))
		}
	}
	return problems
}

// placeFiles decides how images are called in /usr. Versions lie in a directory as systemd-sysext looks for them since 256, so
// that a link to that gives the newest one; an older one cannot be led astray by it.
func placeFiles(all []*Extension, systemd features.Features) {
	for _, x := range all {
		name := x.Name.Value
		file := name + "_" + x.Version.Value + ".raw"
		switch alone := !slices.ContainsFunc(all, func(o *Extension) bool { return o != x && o.Name.Value == name }); {
		case x.Flatten:
		case alone:
			x.File = name + ".raw"
		case systemd.VersionDirs():
			x.File = path.Join(name+".raw.v", file)
		default:
			x.File = file
		}
	}
}

// together proves that the order does not matter in which anything is merged that can be active at the same time.
func together(profile *profiles.Profile, all []*Extension, staged []oem.Staged) error {
	var mistakes []error
	pair := func(a, b check.Named) {
		for _, p := range check.Together([]check.Named{a, b}) {
			mistakes = append(mistakes, errors.New(p.String()))
		}
	}
	for i, x := range all {
		own := check.Named{Name: profile.Where(x.Extension), Tree: x.Tree}
		for _, s := range staged {
			if x.Enable == nil || x.Enable.How != profiles.OnPlatforms || slices.Contains(x.Enable.IDs(), s.Platform.ID.Value) {
				pair(own, check.Named{Name: s.Platform.Image(), Tree: s.Tree})
			}
		}
		for _, other := range all[:i] {
			if other.Name.Value != x.Name.Value {
				pair(own, check.Named{Name: profile.Where(other.Extension), Tree: other.Tree})
			}
		}
	}
	return errors.Join(mistakes...)
}

// Choices are what machines may choose from.
func Choices(all []*Extension) []activate.Extension {
	var choices []activate.Extension
	for _, x := range all {
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
