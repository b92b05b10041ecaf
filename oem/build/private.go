package build

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/check/elf"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Packages of Debian run on a base that is not Debian when they bring all their libraries but glibc, and look for them
// in a directory of their own: nothing then depends on the base's layout, and no library of the base is hidden.
// The base's glibc must be at least as new as the suite's, which the check of symbol versions proves.
// What programs of the base load by name, modules of NSS and PAM, goes to where they look for it.

// needsLibraries tells whether packages have to bring all their libraries, since the base is not Debian.
func needsLibraries(base *target.Base) bool { return !base.IsDebian() }

// privateDir is where a recipe's libraries go.
func privateDir(name string) string { return "/usr/lib/oem-" + name + "/lib" }

// libraryDirs are where packages have the libraries that all programs find, for one architecture.
func libraryDirs(r *Resolved) []string {
	return []string{"/usr/lib/" + r.Arch.Triplet(), "/usr/lib64", "/usr/lib"}
}

// makePrivate moves the libraries that packages brought, and makes all programs and libraries look for them there.
// Directories of plugins stay where the programs expect them. Of libraries that came with dependencies those stay that
// something needs; own are the names of the others.
func (b *Builder) makePrivate(ctx context.Context, r *Resolved, root *os.Root, own map[string]bool) error {
	if !r.Recipe.HasPackages() || !needsLibraries(b.Base) {
		return nil
	}
	private := privateDir(r.Recipe.Name.Value)
	libraries, err := b.Base.LibraryDir()
	if err != nil {
		return err
	}
	for _, dir := range libraryDirs(r) {
		if err := moveLibraries(root, dir, private, libraries); err != nil {
			return err
		}
		if err := moveModules(root, dir+"/security", libraries+"/security"); err != nil {
			return err
		}
	}
	files, err := dynamicFiles(root, r.Recipe)
	if err != nil {
		return err
	}
	if err := dropUnneeded(root, files, private, own); err != nil {
		return err
	}
	tools, err := b.open(ctx, patchelf)
	if err != nil {
		return err
	}
	return setRunpaths(ctx, tools, root, byRunpath(files, r, private))
}

// moveLibraries moves the shared libraries right in a directory, and the links beside them: to the private directory,
// but modules of NSS to the one where the base's C library looks for them.
func moveLibraries(root *os.Root, from, private, base string) error {
	return moveFiles(root, from, func(name string) string {
		switch {
		case !strings.HasSuffix(name, ".so") && !strings.Contains(name, ".so."):
			return from
		case strings.HasPrefix(name, "libnss_"):
			return base
		}
		return private
	})
}

// moveModules moves all files right in a directory.
func moveModules(root *os.Root, from, to string) error {
	return moveFiles(root, from, func(string) string { return to })
}

// moveFiles moves the files right in a directory to the directories that are chosen by name.
func moveFiles(root *os.Root, from string, choose func(name string) string) error {
	entries, err := fs.ReadDir(root.FS(), rel(from))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		to := choose(e.Name())
		if e.IsDir() || to == from {
			continue
		}
		target := rel(path.Join(to, e.Name()))
		if _, err := root.Lstat(target); err == nil {
			return fmt.Errorf("two libraries are named %s, one of them in %s; prune one", e.Name(), from)
		}
		if err := makeDir(root, to); err != nil {
			return err
		}
		if err := root.Rename(rel(path.Join(from, e.Name())), target); err != nil {
			return err
		}
	}
	return nil
}

// dynamicFiles returns what will be left of the recipe's programs and libraries, by path.
func dynamicFiles(root *os.Root, r *recipe.Recipe) (map[string]*elf.File, error) {
	unread := func(io.Reader) (digest.SHA256, int64, error) { return digest.SHA256{}, 0, nil }
	all, err := tree.Scan(root.Name(), unread)
	if err != nil {
		return nil, err
	}
	files := map[string]*elf.File{}
	for _, e := range prune(all, slices.Concat(never, r.Prune)) {
		if e.Type != tree.File {
			continue
		}
		file, err := readELF(root, e.Path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Path, err)
		}
		if file != nil {
			files[e.Path] = file
		}
	}
	return files, nil
}

// readELF returns nil for other files.
func readELF(root *os.Root, name string) (*elf.File, error) {
	f, err := root.Open(rel(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 4)
	if n, _ := f.ReadAt(head, 0); !elf.Is(head[:n]) {
		return nil, nil
	}
	return elf.Read(f)
}

// dropUnneeded removes the private libraries that nothing needs, with the links to them.
func dropUnneeded(root *os.Root, files map[string]*elf.File, private string, own map[string]bool) error {
	entries, err := fs.ReadDir(root.FS(), rel(private))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	var need func(name string)
	need = func(name string) {
		if needed[name] {
			return
		}
		needed[name] = true
		if target, err := root.Readlink(rel(path.Join(private, name))); err == nil {
			need(path.Base(target))
		} else if file := files[path.Join(private, name)]; file != nil {
			for _, other := range file.Needed {
				need(other)
			}
		}
	}
	for name, file := range files {
		if path.Dir(name) != private || own[path.Base(name)] {
			need(path.Base(name))
			for _, other := range file.Needed {
				need(other)
			}
		}
	}
	for _, e := range entries {
		name := path.Join(private, e.Name())
		if needed[e.Name()] || own[e.Name()] {
			continue
		}
		delete(files, name)
		if err := root.Remove(rel(name)); err != nil {
			return err
		}
	}
	return nil
}

// byRunpath groups all files that need libraries by the RUNPATH that each shall have:
// what it has, without the directories that were emptied, and the private one.
func byRunpath(files map[string]*elf.File, r *Resolved, private string) map[string][]string {
	groups := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := files[name]
		if len(file.Needed) == 0 {
			continue
		}
		var runpath []string
		for _, dir := range append(slices.Concat(file.Runpath, file.Rpath), private) {
			if !slices.Contains(libraryDirs(r), path.Clean(dir)) && !slices.Contains(runpath, dir) {
				runpath = append(runpath, dir)
			}
		}
		key := strings.Join(runpath, ":")
		groups[key] = append(groups[key], rel(name))
	}
	return groups
}

// setRunpaths runs patchelf. It writes files anew, which costs them their setuid and setgid bits, so modes are set again.
func setRunpaths(ctx context.Context, tools *toolroot.Root, root *os.Root, files map[string][]string) error {
	const atOnce = 256 // names on one command line
	for _, runpath := range slices.Sorted(maps.Keys(files)) {
		for names := range slices.Chunk(files[runpath], atOnce) {
			args := []string{"--set-rpath", runpath}
			modes := map[string]fs.FileMode{}
			for _, name := range names {
				info, err := root.Lstat(name)
				if err != nil {
					return err
				}
				modes[name] = info.Mode()
				args = append(args, filepath.Join(root.Name(), name))
			}
			if err := tools.Run(ctx, toolroot.Cmd{Program: "patchelf", Args: args, Write: []string{root.Name()}}); err != nil {
				return err
			}
			for name, mode := range modes {
				if err := root.Chmod(name, mode); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
