package build

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/elf"
	"github.com/flatcar/oem-sysext/oem/toolroot"
)

// Packages of Debian run on a base that is not Debian when they bring all their libraries but glibc, and look for them
// in a directory of their own: nothing then depends on the base's layout, and no library of the base is hidden.
// The base's glibc must be at least as new as the suite's, which the check of symbol versions proves.

// glibc is what comes from the base always: the loader and the C library belong together, and libc to all processes.
var glibc = []string{"libc6", "libc-bin"}

// privateDir is where a recipe's libraries go.
func privateDir(name string) string { return "/usr/lib/oem-" + name + "/lib" }

// libraryDirs are where packages have the libraries that all programs find, for one architecture.
func libraryDirs(r *Resolved) []string {
	return []string{"/usr/lib/" + triplets[r.Arch], "/usr/lib64", "/usr/lib"}
}

// makePrivate moves the libraries that packages brought, and makes all programs and libraries look for them there.
// Directories of plugins stay where the programs expect them.
func (b *Builder) makePrivate(ctx context.Context, r *Resolved, root *os.Root) error {
	if !r.Recipe.Private() {
		return nil
	}
	private := privateDir(r.Recipe.Name.Value)
	if err := makeDir(root, private); err != nil {
		return err
	}
	for _, dir := range libraryDirs(r) {
		if err := moveLibraries(root, dir, private); err != nil {
			return err
		}
	}
	files, err := dynamicFiles(root, r, private)
	if err != nil {
		return err
	}
	return b.setRunpaths(ctx, root, files)
}

// moveLibraries moves the shared libraries right in a directory, and the links beside them.
func moveLibraries(root *os.Root, from, to string) error {
	entries, err := fs.ReadDir(root.FS(), rel(from))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		isLibrary := strings.HasSuffix(e.Name(), ".so") || strings.Contains(e.Name(), ".so.")
		if e.IsDir() || !isLibrary {
			continue
		}
		target := rel(path.Join(to, e.Name()))
		if _, err := root.Lstat(target); err == nil {
			return fmt.Errorf("two libraries are named %s, one of them in %s; prune one", e.Name(), from)
		}
		if err := root.Rename(rel(path.Join(from, e.Name())), target); err != nil {
			return err
		}
	}
	return nil
}

// dynamicFiles returns all files that need libraries, by the RUNPATH that each shall have:
// what it has, without the directories that were emptied, and the private one.
func dynamicFiles(root *os.Root, r *Resolved, private string) (map[string][]string, error) {
	found := map[string][]string{}
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		head := make([]byte, 4)
		if n, _ := f.ReadAt(head, 0); !elf.Is(head[:n]) {
			return nil
		}
		file, err := elf.Read(f)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if len(file.Needed) == 0 {
			return nil
		}
		var runpath []string
		for _, dir := range append(slices.Concat(file.Runpath, file.Rpath), private) {
			if !slices.Contains(libraryDirs(r), path.Clean(dir)) && !slices.Contains(runpath, dir) {
				runpath = append(runpath, dir)
			}
		}
		key := strings.Join(runpath, ":")
		found[key] = append(found[key], name)
		return nil
	})
	return found, err
}

// setRunpaths runs patchelf. It writes files anew, which costs them their setuid and setgid bits, so modes are set again.
func (b *Builder) setRunpaths(ctx context.Context, root *os.Root, files map[string][]string) error {
	tools, err := b.patchelf(ctx)
	if err != nil {
		return err
	}
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

// patchelf returns the root that has patchelf.
func (b *Builder) patchelf(ctx context.Context) (*toolroot.Root, error) {
	return b.Tools(ctx, "", []string{"patchelf"})
}
