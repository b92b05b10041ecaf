package build

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/archive"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/upstream/binpkg"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

// GoneError says that a file is no longer where it was.
type GoneError struct {
	Recipe, Package string
	Pinned, Offered string // versions; nothing is offered when the archive has no such package any more
	Err             error
}

func (e *GoneError) Error() string {
	offered := "offers none"
	if e.Offered != "" {
		offered = "offers " + e.Offered
	}
	return fmt.Sprintf("package %s %s is no longer in the archive, which %s; run %s: %v", e.Package, e.Pinned, offered, LockCommand(e.Recipe), e.Err)
}

func (e *GoneError) Unwrap() error { return e.Err }

// unpack lays out what the sources stand for: what is below /usr, and what the recipe moves there.
// It returns the names of the files that came from elsewhere than a package that was only needed.
func (b *Builder) unpack(ctx context.Context, r *Resolved, root *os.Root) (own map[string]bool, err error) {
	own = map[string]bool{}
	keep := func(name string) bool {
		if strings.HasPrefix(name, "usr/") {
			return true
		}
		for from := range r.Recipe.Move {
			if name == rel(from) || strings.HasPrefix(name, rel(from)+"/") {
				return true
			}
		}
		return false
	}
	for i, pins := range r.Pins {
		if source := r.Recipe.Sources[i]; source.URL != nil || source.GitHub != nil {
			pins = pins[:1] // what may follow is its signature, which was checked when it was looked up
		}
		for _, pin := range pins {
			keep, needed := keep, isDependency(r.Recipe.Sources[i], pin.Name)
			if !needed {
				all := keep
				keep = func(name string) bool { own[path.Base(name)] = true; return all(name) }
			}
			if err := b.unpackPin(ctx, r, r.Recipe.Sources[i], pin, root, keep); err != nil {
				return nil, fmt.Errorf("%s %s: %w", pin.Name, pin.Version, err)
			}
		}
	}
	return own, ctx.Err()
}

// isDependency tells whether a package came since another needs it.
func isDependency(source recipe.Source, name string) bool {
	return source.Deb != nil && !slices.ContainsFunc(source.Deb.Packages, func(p strictyaml.Text) bool { return p.Value == name })
}

func (b *Builder) unpackPin(ctx context.Context, r *Resolved, source recipe.Source, pin lock.Pin, root *os.Root, keep func(string) bool) error {
	switch {
	case source.Deb != nil:
		file, err := b.deb(ctx, r, source.Deb, pin)
		if err != nil {
			return err
		}
		_, err = debian.Unpack(file, root, keep)
		return err
	case source.URL != nil:
		return b.unpackFile(ctx, source.URL.Addresses(r.Arch), pin, source.URL.Unpack, root, keep)
	case source.GitHub != nil:
		return b.unpackFile(ctx, []string{b.GitHub.Server + "/" + pin.File}, pin, source.GitHub.Unpack, root, keep)
	case source.Binpkg != nil:
		mirror, err := b.binpkgs()
		if err != nil {
			return err
		}
		file, err := b.Store.File(ctx, want([]string{mirror + "/" + pin.File}, pin))
		if err != nil {
			return err
		}
		return binpkg.Unpack(file, root, keep)
	}
	return nil
}

// deb fetches a package.
func (b *Builder) deb(ctx context.Context, r *Resolved, d *recipe.Deb, pin lock.Pin) (string, error) {
	file, err := b.Archive.Deb(ctx, debian.Package{
		Name: pin.Name, Version: pin.Version, Pocket: pin.From, Filename: pin.File, Size: size.Bytes(pin.Size), SHA256: pin.SHA256(),
	})
	if errors.Is(err, fetch.ErrNotFound) {
		return "", &GoneError{r.Recipe.Name.Value, pin.Name, pin.Version, b.offered(ctx, d, r.Arch, pin.Name), fetch.ErrNotFound}
	}
	return file, err
}

// offered is the version of a package that the archive has now, and empty when it has none or cannot be asked.
func (b *Builder) offered(ctx context.Context, d *recipe.Deb, a arch.Arch, name string) string {
	release, err := b.Archive.Release(ctx, d.Suite, string(a))
	if err != nil {
		return ""
	}
	packages, err := release.Packages(ctx)
	if err != nil {
		return ""
	}
	return packages.Version(name)
}

func want(addresses []string, pin lock.Pin) fetch.Want {
	return fetch.Want{URLs: addresses, SHA256: pin.SHA256(), Size: size.Bytes(pin.Size)}
}

// unpackFile lays out a downloaded file: a tar or zip archive, a Debian package, or one program.
func (b *Builder) unpackFile(ctx context.Context, addresses []string, pin lock.Pin, u recipe.Unpack, root *os.Root, keep func(string) bool) error {
	name, err := b.Store.File(ctx, want(addresses, pin))
	if err != nil {
		return err
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if u.Program != "" {
		if err := makeDir(root, path.Dir(string(u.Program))); err != nil {
			return err
		}
		return archive.Single(file, root, rel(string(u.Program)), archive.Options{Name: pin.Name})
	}
	magic := make([]byte, 8)
	if _, err := file.ReadAt(magic, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	kept := 0
	counted := func(name string) bool {
		keeps := keep(name)
		if keeps {
			kept++
		}
		return keeps
	}
	switch options := unpackOptions(pin.Name, u, counted); {
	case string(magic) == "!<arch>\n":
		_, err = debian.Unpack(name, root, counted)
	case string(magic[:2]) == "PK":
		err = archive.Zip(file, int64(pin.Size), root, options)
	default:
		if err = archive.Tar(file, root, options); err != nil {
			err = fmt.Errorf("%w (if it is no archive but one program, say unpack: {program: …})", err)
		}
	}
	if err == nil && kept == 0 {
		err = errors.New("nothing of it comes below /usr; say where it belongs, such as unpack: {strip: 1, to: /usr}")
	}
	return err
}

// unpackOptions carry out a recipe's unpack.
func unpackOptions(name string, u recipe.Unpack, keep func(string) bool) archive.Options {
	to := rel(string(u.To))
	return archive.Options{
		Name: name,
		Path: func(name string) string {
			for range u.Strip {
				_, name, _ = strings.Cut(name, "/")
			}
			if name == "" {
				return "" // one of the directories taken off
			}
			return path.Join(to, name)
		},
		Keep: func(header *tar.Header) bool {
			return header.Name != "" && included(u.Include, "/"+strings.TrimPrefix(strings.TrimPrefix(header.Name, to), "/")) && keep(header.Name)
		},
	}
}

// included tells whether a pattern matches a path or a directory above it.
func included(patterns []recipe.Glob, name string) bool {
	if len(patterns) == 0 {
		return true
	}
	for ; name != "/"; name = path.Dir(name) {
		if slices.ContainsFunc(patterns, func(g recipe.Glob) bool { return g.Match(name) }) {
			return true
		}
	}
	return false
}
