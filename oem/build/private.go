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

// Debian packages run on a base other than Debian if they bring all libraries except glibc, in a private directory:
// they are then independent of the base's layout, and hide none of its libraries.
// The base's glibc must be at least as new as the suite's; the check of symbol versions verifies that.
// NSS and PAM modules, which programs of the base load by name, are moved to the base's own directories.

// needsLibraries tells whether packages have to bring all their libraries, since the base is not Debian.
func needsLibraries(base *target.Base) bool { return !base.IsDebian() }

// privateDir is the directory of a recipe's private libraries.
func privateDir(name string) string { return "/usr/lib/oem-" + name + "/lib" }

// libraryDirs are the library directories of Debian packages that the loader searches by default.
func libraryDirs(r *Resolved) []string {
	return []string{"/usr/lib/" + r.Arch.Triplet(), "/usr/lib64", "/usr/lib"}
}

// makePrivate moves libraries of packages to the private directory and sets the RUNPATH of all ELF files to it.
// Plugin directories stay where programs expect them. Unneeded libraries are dropped, except those in own:
// names of files that do not come from mere dependencies.
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

// moveLibraries moves the shared libraries directly in a directory, and links to them: NSS modules to the directory
// where the base's C library looks for them, all others to the private directory.
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

// moveModules moves all files directly in a directory.
func moveModules(root *os.Root, from, to string) error {
	return moveFiles(root, from, func(string) string { return to })
}

// moveFiles moves each file directly in a directory to the directory that choose returns for its name.
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

// dynamicFiles returns the recipe's ELF files that remain after pruning, by path.
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

// readELF reads an ELF file, and returns nil for other files.
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

// dropUnneeded removes private libraries that nothing needs, and links to them.
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

// byRunpath groups files that need libraries by their new RUNPATH:
// the old one without the default library directories, which are empty now, and with the private one.
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

// setRunpaths runs patchelf. It rewrites files, which clears their setuid and setgid bits, so modes are restored.
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
