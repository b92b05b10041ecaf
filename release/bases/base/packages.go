package base

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// pkg is one installed package, as the package database describes it.
type pkg struct {
	name     string
	version  string
	provides []string
	depends  [][]string // each needs one of its alternatives; versions are apt's business
	stanza   string     // the whole entry
}

// readStatus reads a package database, dpkg's status file.
func readStatus(path string) ([]pkg, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var pkgs []pkg
	for stanza := range strings.SplitSeq(strings.TrimSpace(string(content)), "\n\n") {
		p := pkg{stanza: stanza}
		for line := range strings.SplitSeq(stanza, "\n") {
			field, value, _ := strings.Cut(line, ": ")
			switch field {
			case "Package":
				p.name = value
			case "Version":
				p.version = value
			case "Provides":
				p.provides = slices.Concat(relations(value)...)
			case "Depends", "Pre-Depends":
				p.depends = append(p.depends, relations(value)...)
			}
		}
		pkgs = append(pkgs, p)
	}
	return pkgs, nil
}

// relations reads "a (>= 1) | b:any, c" as [[a b] [c]].
func relations(value string) [][]string {
	var all [][]string
	for clause := range strings.SplitSeq(value, ",") {
		var names []string
		for alternative := range strings.SplitSeq(clause, "|") {
			name, _, _ := strings.Cut(strings.TrimSpace(alternative), " ")
			name, _, _ = strings.Cut(name, ":")
			names = append(names, name)
		}
		all = append(all, names)
	}
	return all
}

// closure returns the names of the packages wanted and of all that they depend on,
// without following what is left out.
func closure(pkgs []pkg, wanted, without []string) (map[string]bool, error) {
	provider := map[string][]pkg{}
	for _, p := range pkgs {
		for _, name := range append(p.provides, p.name) {
			provider[name] = append(provider[name], p)
		}
	}
	keep := map[string]bool{}
	var follow func(name string)
	follow = func(name string) {
		for _, p := range provider[name] {
			if keep[p.name] || slices.Contains(without, p.name) {
				continue
			}
			keep[p.name] = true
			for _, dependency := range slices.Concat(p.depends...) {
				follow(dependency)
			}
		}
	}
	for _, name := range wanted {
		if follow(name); !keep[name] {
			return nil, fmt.Errorf("package %s is wanted and was not installed", name)
		}
	}
	return keep, nil
}

// removePackages removes the files of all packages but those to keep, and returns the package database of what is left.
// No package's own removal script runs: they need perl and dpkg, which are among the removed.
func removePackages(dir string, pkgs []pkg, keep map[string]bool) (status []byte, err error) {
	var removed, stanzas []string
	kept := map[string]bool{}
	for _, p := range pkgs {
		files, err := filesOf(dir, p.name)
		if err != nil {
			return nil, err
		}
		if !keep[p.name] {
			removed = append(removed, files...)
			continue
		}
		stanzas = append(stanzas, p.stanza+"\n")
		for _, file := range files {
			kept[file] = true
		}
	}
	removed = slices.DeleteFunc(removed, func(file string) bool { return kept[file] })
	return []byte(strings.Join(stanzas, "\n")), removeFiles(dir, removed)
}

// removeFiles removes files, and directories that this leaves empty.
func removeFiles(dir string, files []string) error {
	root, err := os.OpenRoot(dir) // a link such as /var/run -> /run must not lead to the host's
	if err != nil {
		return err
	}
	defer root.Close()
	slices.Sort(files)
	for _, file := range slices.Backward(slices.Compact(files)) { // what is in a directory before the directory
		if !strings.Contains(file, "/") {
			continue // the top level belongs to the base, whoever ships it
		}
		err := root.Remove(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
	}
	return nil
}

// filesOf lists what a package installed, relative to the root, directories included.
func filesOf(dir, name string) ([]string, error) {
	info := filepath.Join(dir, "var/lib/dpkg/info")
	lists, err := filepath.Glob(filepath.Join(info, name+":*.list")) // of a package that can be there for several architectures
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(append(lists, filepath.Join(info, name+".list"))[0])
	if err != nil {
		return nil, fmt.Errorf("files of package %s: %w", name, err)
	}
	var files []string
	for line := range strings.Lines(string(content)) {
		files = append(files, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "/"))
	}
	return files, nil
}

// upstreamVersion returns the version of an installed package without Debian's revision, and nothing when it is not there.
func upstreamVersion(pkgs []pkg, name string) string {
	for _, p := range pkgs {
		if p.name == name {
			version, _, _ := strings.Cut(p.version, "-")
			return version
		}
	}
	return ""
}
