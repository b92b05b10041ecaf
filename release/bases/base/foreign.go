package base

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/sealed"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/bootstrap"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
)

// Foreign returns the base of a definition for an architecture whose programs this host need not run: its packages, unpacked.
// What install scripts and dracut would make is not there, so it has no kernel and initramfs to boot.
// Images are built for it and checked against it all the same.
func Foreign(ctx context.Context, def Definition, archive *repository.Archive, suite *repository.Release, opts Options) (Base, error) {
	id, err := VersionID(opts.Version)
	if err != nil {
		return Base{}, err
	}
	packages, err := foreignPackages(ctx, def, suite)
	if err != nil {
		return Base{}, fmt.Errorf("base %s for %s: %w", def.ID, opts.Arch, err)
	}
	inputs, err := key(ctx, def, opts)
	if err != nil {
		return Base{}, err
	}
	key, err := digest.OfInputs([]any{"foreign", 2, inputs, packages, opts.Version})
	if err != nil {
		return Base{}, err
	}
	dir := filepath.Join(opts.CacheDir, fmt.Sprintf("base-%s-%s-%s-%s", def.ID, opts.Arch, key.Short(), opts.Version))
	unpacked := foreign{def: def, opts: opts, archive: archive, packages: packages}
	err = store.Dir(ctx, opts.Results, dir, key, sealed.Filled(func(temp string) error { return unpacked.unpack(ctx, temp) }))
	if err == nil {
		err = sealed.Check(dir)
	}
	if err != nil {
		return Base{}, fmt.Errorf("base %s for %s: %w", def.ID, opts.Arch, err)
	}
	status := filepath.Join(dir, "status")
	pkgs, err := readStatus(status)
	return Base{
		ID: def.ID, Version: opts.Version, VersionID: id, Arch: opts.Arch, Systemd: upstreamVersion(pkgs, "systemd"),
		Usr: filepath.Join(dir, "usr"), Status: status,
	}, err
}

// foreignPackages are what the definition wants and all that it needs.
func foreignPackages(ctx context.Context, def Definition, suite *repository.Release) ([]debian.Package, error) {
	index, err := suite.Packages(ctx)
	if err != nil {
		return nil, err
	}
	closure, err := index.Closure(debian.Ask{Want: def.forArch(suite.Arch).Packages, Without: def.Without})
	return closure.Packages, err
}

// foreign is a base of packages that are only unpacked.
type foreign struct {
	def      Definition
	opts     Options
	archive  *repository.Archive
	packages []debian.Package
}

// unpack makes usr and status in dir.
func (f foreign) unpack(ctx context.Context, dir string) error {
	f.opts.Log.Info("unpacking a base", "base", f.def.ID, "arch", f.opts.Arch, "packages", len(f.packages))
	path := filepath.Join(dir, "root")
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	var status strings.Builder
	for _, p := range f.packages {
		file, err := f.archive.Deb(ctx, p)
		if err != nil {
			return err
		}
		control, err := debian.Unpack(file, debian.Identity{Name: p.Name, Version: p.Version, Arch: p.Architecture}, root, func(name string) bool {
			return (strings.HasPrefix(name, "usr/") || strings.HasPrefix(name, "etc/")) && !isExcluded(f.def, "/"+name)
		})
		if err != nil {
			return err
		}
		status.WriteString(stanza(p, control))
	}
	if err := finishForeign(f.def, path, f.opts.Version); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(path, "usr"), filepath.Join(dir, "usr")); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(dir, "status"), 0o644, []byte(status.String())); err != nil {
		return err
	}
	return bootstrap.ClampTimes(filepath.Join(dir, "usr"), f.opts.Epoch)
}

// isExcluded tells whether a path lies in a directory that the definition excludes. Its patterns end in /*.
func isExcluded(def Definition, name string) bool {
	return slices.ContainsFunc(def.Exclude, func(pattern string) bool {
		return strings.HasPrefix(name, strings.TrimSuffix(pattern, "*"))
	})
}

// stanza is a package's entry in the package database.
func stanza(p debian.Package, control debian.Control) string {
	text := fmt.Sprintf("Package: %s\nStatus: install ok installed\nVersion: %s\nArchitecture: %s\n", p.Name, p.Version, p.Architecture)
	for _, field := range []string{"Provides", "Depends", "Pre-Depends", "Multi-Arch"} {
		if value := control[strings.ToLower(field)]; value != "" {
			text += field + ": " + value + "\n"
		}
	}
	return text + "\n"
}

// finishForeign does what arrange does, where the same files are there, and what the accounts' install script does.
func finishForeign(def Definition, root, version string) error {
	for _, pattern := range def.Prune { // some match nothing: what they name is made by install scripts
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{"passwd", "group"} {
		content, err := os.ReadFile(filepath.Join(root, "usr/share/base-passwd", name+".master"))
		if err != nil {
			return err
		}
		if err := atomicfile.WriteBytes(filepath.Join(root, "etc", name), 0o644, content); err != nil {
			return err
		}
	}
	if err := dropUnrunnable(root); err != nil {
		return err
	}
	if err := copyFiles("files/root", root); err != nil {
		return err
	}
	if err := makeLinks(root, def.Links); err != nil {
		return err
	}
	release := filepath.Join(root, "usr/lib/os-release")
	if err := os.Remove(release); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := atomicfile.WriteBytes(release, 0o644, []byte(osRelease(def, version))); err != nil {
		return err
	}
	return moveEtc(root)
}
