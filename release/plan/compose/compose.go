// Package compose reads foreign extensions and checks that they run on the base and do not conflict.
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

// Extension is a foreign extension of the release, read and checked.
type Extension struct {
	*profiles.Extension
	Tree     tree.Tree
	Needs    []string // kernel options for mounting the original image
	Inputs   []input.Input
	Coupled  bool              // needs a rebuild for each release of the OS
	Trusted  *x509.Certificate // by which machines verify it, if the original is signed
	AsIs     bool              // embedded byte for byte
	File     string            // in the images' directory; empty when it is flattened
	Original signed.Image      // the image as read, for AsIs
}

// Composer reads and checks foreign extensions.
type Composer struct {
	bench   *setup.Bench
	choice  *setup.Choice
	base    *bases.Base
	factory *oem.Factory
	own     []string // paths that the release itself adds to /usr
	reader  *extension.Reader
	checker *check.Checker
	os      extension.OS
}

// New returns the composer of a profile's extensions. own are the paths that the release itself adds to /usr.
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

// Compose reads the extensions of the profile and checks that each runs on the base and does not conflict with anything that
// can be active at the same time. The error lists the problems of all of them.
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
			defer step.On(wanted[i].Name.Value)()
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

// one reads and checks an extension. If it is for another OS release and the profile names a recipe to rebuild it, it is
// built from that.
func (c *Composer) one(ctx context.Context, x *profiles.Extension) (*Extension, error) {
	made, err := c.oneOf(ctx, x)
	coupled := (*extension.CoupledError)(nil)
	if !errors.As(err, &coupled) || x.Rebuild == nil {
		return made, err
	}
	if x.Rebuild.Recipe.Value == "" {
		return nil, fmt.Errorf("%w; to rebuild it: %s", err, x.Rebuild.Command)
	}
	c.bench.Log.Warn("rebuilding an extension from its recipe", "extension", x.Name.Value, "reason", err, "recipe", x.Rebuild.Recipe.Value)
	again := *x
	again.File, again.Directory, again.URL, again.GitHub = profiles.Nothing, profiles.Nothing, nil, nil
	again.Recipe, again.Certificate = x.Rebuild.Recipe, profiles.Nothing
	return c.oneOf(ctx, &again)
}

func (c *Composer) oneOf(ctx context.Context, x *profiles.Extension) (*Extension, error) {
	made, err := c.load(ctx, x)
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
		problems = append(problems, c.unreadable(made.Needs, "set repack: true")...)
	}
	if x.Flatten {
		problems = append(problems, notFlat(made.Tree)...)
	}
	found, err := c.checker.Tree(ctx, made.Tree)
	for _, p := range found {
		if p.Runtime && x.Recipe.Value == "" {
			c.bench.Log.Warn("an extension of others needs what only a running machine has", "extension", x.Name.Value, "problem", p.String())
			continue
		}
		problems = append(problems, p.String())
	}
	if len(problems) > 0 {
		err = errors.Join(errors.New("cannot be in this release:\n  "+strings.Join(problems, "\n  ")), err)
	}
	return made, err
}

// load fetches an extension from its source and reads it.
func (c *Composer) load(ctx context.Context, x *profiles.Extension) (*Extension, error) {
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
		return nil, errors.New("is signed, and repacking drops the signature; remove repack, or use an unsigned image")
	case read.RootHash.IsZero():
		made.Trusted = nil
	}
	made.Tree, made.Needs, made.AsIs = read.Tree, read.Needs, !x.Repack && !x.Flatten
	made.Original = signed.Image{Image: pack.Image{SHA256: d, Size: size.Bytes(n)}, RootHash: read.RootHash}
	return made, nil
}

func (c *Composer) ofDirectory(made *Extension) error {
	scanned, err := tree.Scan(c.choice.Profile.Path(made.Directory.Value), c.bench.Blobs.Add)
	if err != nil {
		return err
	}
	for i := range scanned {
		scanned[i].UID, scanned[i].GID = 0, 0 // reproducible: not the owner on this machine
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

// withRelease adds an extension-release for this base to a tree without one.
func (c *Composer) withRelease(made *Extension, t tree.Tree) (tree.Tree, error) {
	if len(t.Under("/usr/lib/extension-release.d")) > 0 {
		return t, nil
	}
	return stage.WithRelease(t, stage.Release{Image: made.Name.Value, Title: made.Name.Value, Version: made.Version.Value}, c.base.Target, func(content string) (digest.SHA256, error) {
		d, _, err := c.bench.Blobs.Add(strings.NewReader(content))
		return d, err
	})
}

// clash returns the problem if the base has an extension of that name.
func (c *Composer) clash(name string) string {
	for _, dir := range []string{"/usr/share/flatcar/sysext", "/usr/share/flatcar/etc/extensions", "/usr/share/flatcar/oem-sysext", "/usr/lib/extensions"} {
		for _, file := range []string{name, name + ".raw", name + "-flatcar.raw"} {
			if _, has := c.base.Target.Usr.Find(path.Join(dir, file)); has && !slices.Contains(c.base.Embeds, file) {
				return fmt.Sprintf("its name is taken: the base has %s; rename the extension where it is built", path.Join(dir, file))
			}
		}
	}
	return ""
}

// inTheWay returns the paths of a tree that would hide the release's own files when merged.
func (c *Composer) inTheWay(t tree.Tree) []string {
	var problems []string
	for _, e := range t {
		hides := func(own string) bool {
			return strings.HasPrefix(e.Path+"/", own+"/") || e.Type != tree.Dir && strings.HasPrefix(own, e.Path+"/")
		}
		if i := slices.IndexFunc(c.own, hides); i >= 0 {
			problems = append(problems, fmt.Sprintf("%q hides %s, which belongs to the release; remove it where the extension is built", e.Path, c.own[i]))
		}
	}
	return problems
}

// unreadable returns the options that the base's kernel lacks to mount an image. On a machine, one image that does not mount
// stops the merge of all others.
func (c *Composer) unreadable(options []string, remedy string) []string {
	var problems []string
	for _, option := range options {
		if !c.base.Target.Kernel.Has(option) {
			problems = append(problems, fmt.Sprintf("its file system needs CONFIG_%s, which the base's kernel lacks; %s, or build it with another compressor", option, remedy))
		}
	}
	return problems
}

// placeFiles names the images in /usr. Several versions go to a NAME.raw.v directory if the base's systemd resolves a link
// to one, to its newest version (since 256). An older systemd never sees such a directory.
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

// together checks that the merge order of everything that can be active at the same time does not matter.
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

// Choices returns the extensions that machines may enable, with their versions.
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
