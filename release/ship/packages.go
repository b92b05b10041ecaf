package ship

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"runtime/debug"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/upstream/binpkg"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// packagesOf lists what a base says that it was made from.
func packagesOf(base *target.Base) ([]manifest.Package, error) {
	if len(base.Gentoo) > 0 {
		return gentooPackages(base.Gentoo)
	}
	installed, err := debian.ParseStatus(bytes.NewReader(base.Status))
	if err != nil {
		return nil, fmt.Errorf("packages of the base: %w", err)
	}
	return debianPackages(installed), nil
}

func debianPackages(installed *debian.Installed) []manifest.Package {
	var all []manifest.Package
	for _, p := range installed.All() {
		all = append(all, manifest.Package{Kind: "deb", Name: p.Name, Version: p.Version, Arch: p.Arch})
	}
	return all
}

func gentooPackages(list []byte) ([]manifest.Package, error) {
	installed, err := binpkg.ReadInstalled(list)
	if err != nil {
		return nil, err
	}
	var all []manifest.Package
	for _, name := range slices.Sorted(maps.Keys(installed)) {
		for _, p := range installed[name] {
			all = append(all, manifest.Package{Kind: "binpkg", Name: name, Version: p.Version})
		}
	}
	return all, nil
}

// smallestProgram is below what any program of Go takes: its runtime alone is more.
const smallestProgram = 512 * size.KiB

// goPrograms reads of which modules the programs in images were compiled, as Go writes it into each of them.
func (s *Shipper) goPrograms(ctx context.Context, images []manifest.Image) ([]manifest.Program, error) {
	paths := map[digest.SHA256]string{}
	for _, i := range images {
		for _, c := range i.Contents {
			if size.Bytes(c.Size) < smallestProgram {
				continue
			}
			if path, seen := paths[c.SHA256]; !seen || c.Path < path {
				paths[c.SHA256] = c.Path
			}
		}
	}
	files := slices.SortedFunc(maps.Keys(paths), func(a, b digest.SHA256) int { return bytes.Compare(a[:], b[:]) })
	programs, err := store.Memo(ctx, s.Bench.Results.Step("go-programs", files), store.Nothing, func() ([]manifest.Program, error) {
		var all []manifest.Program
		for _, d := range files {
			p, err := readProgram(s.Bench.Blobs.Path(d))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", paths[d], err)
			}
			if p != nil {
				p.SHA256 = d
				all = append(all, *p)
			}
		}
		return all, nil
	})
	for i, p := range programs {
		programs[i].Path = paths[p.SHA256]
	}
	slices.SortFunc(programs, func(a, b manifest.Program) int { return bytes.Compare([]byte(a.Path), []byte(b.Path)) })
	return programs, err
}

// readProgram returns nil for a file that is no program of Go's.
func readProgram(path string) (*manifest.Program, error) {
	info, err := buildinfo.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, nil // the error has no type
	}
	p := &manifest.Program{Go: info.GoVersion, Package: info.Path, Module: moduleOf(&info.Main)}
	for _, dep := range info.Deps {
		p.Modules = append(p.Modules, moduleOf(dep))
	}
	return p, nil
}

// moduleOf returns what was compiled: a module, or what stands in for it.
func moduleOf(m *debug.Module) manifest.Module {
	if m.Replace != nil {
		m = m.Replace
	}
	return manifest.Module{Path: m.Path, Version: m.Version, Sum: m.Sum}
}
