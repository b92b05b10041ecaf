package check

import (
	"errors"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/check/elf"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// object is a program or library as the dynamic loader sees it.
type object struct {
	path   string // as it was opened: $ORIGIN is its directory
	file   *elf.File
	parent *object // what needs it; nil for what is loaded first
}

// loader finds libraries as glibc's dynamic loader does (ld.so(8)).
type loader struct {
	*check
	// system are the directories built into the base's loader, where all libraries are found.
	system []string
	// configured are the directories of ld.so.conf. The base's libraries in them are found through the base's
	// ld.so.cache, those of an image are not: nothing rebuilds the cache after a merge.
	configured []string
}

// newLoader reads how the base's loader is set up. A base without a loader finds nothing.
func newLoader(c *check) (*loader, error) {
	l := &loader{check: c, configured: c.ldConf("/etc/ld.so.conf", 0)}
	e, err := c.view.resolve(c.view.base.Arch.Interpreter())
	if err != nil {
		return l, nil
	}
	f, err := c.view.open(e)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l.system, err = systemDirs(f, e.Size)
	return l, err
}

// ldConf reads a configuration file of the loader, with what it includes (ldconfig(8)).
// Debian's default file does nothing but include, and need not be there.
func (c *check) ldConf(name string, depth int) []string {
	if depth > 8 {
		return nil
	}
	content := "include /etc/ld.so.conf.d/*.conf"
	if e, err := c.view.resolve(name); err == nil {
		if content, err = c.view.read(e); err != nil {
			return nil
		}
	} else if depth > 0 {
		return nil
	}
	var dirs []string
	parseLdConf(content, path.Dir(name), func(dir string) { dirs = append(dirs, dir) }, func(pattern string) {
		for _, e := range c.view.below(path.Dir(pattern), "") {
			if matched, err := path.Match(pattern, e.Path); err == nil && matched {
				dirs = append(dirs, c.ldConf(e.Path, depth+1)...)
			}
		}
	})
	return dirs
}

// parseLdConf reads the lines of one file: directories, and patterns of files that it includes, made absolute from its own directory.
func parseLdConf(content, from string, directory, include func(string)) {
	for line := range strings.Lines(content) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch {
		case len(words) == 2 && words[0] == "include":
			pattern := words[1]
			if !path.IsAbs(pattern) {
				pattern = path.Join(from, pattern)
			}
			include(pattern)
		case len(words) == 1 && path.IsAbs(words[0]):
			directory(words[0])
		}
	}
}

// In glibc's loader the built-in directories are strings that end in a slash, one after the other.
var builtIn = regexp.MustCompile(`(?:/[A-Za-z0-9_./+-]*/\x00){2,}`)

// maxLoader bounds the loader itself, which has about 250 KB.
const maxLoader = 16 << 20

// systemDirs finds the directories that are built into a loader: its own --list-diagnostics says the same,
// but can only be asked on its own architecture.
func systemDirs(loader interface {
	ReadAt([]byte, int64) (int, error)
}, length int64) ([]string, error) {
	if length > maxLoader {
		return nil, errors.New("the base's dynamic loader is larger than any real one")
	}
	content := make([]byte, length)
	if _, err := loader.ReadAt(content, 0); err != nil {
		return nil, err
	}
	found := strings.TrimSuffix(string(builtIn.Find(content)), "\x00")
	var dirs []string
	for dir := range strings.SplitSeq(found, "\x00") {
		if dir != "" {
			dirs = append(dirs, path.Clean(dir))
		}
	}
	return dirs, nil
}

// load loads a program or library with all that it needs, breadth first as the loader does,
// and calls visit with what was opened. What is wrong with files of the image is a problem.
func (l *loader) load(first *object, visit func(path string)) error {
	byName := map[string]*object{first.file.Soname: first, path.Base(first.path): first}
	for queue := []*object{first}; len(queue) > 0; queue = queue[1:] {
		o := queue[0]
		visit(o.path)
		for _, name := range o.file.Needed {
			if byName[name] != nil {
				continue
			}
			library, err := l.find(name, o)
			if err != nil {
				return err
			}
			if library == nil {
				if l.inImage(o.path) {
					l.add(o.path, "needs %s, which is nowhere in its search path (%s); add what brings it, or prune the file",
						name, strings.Join(l.searched(o), ", "))
				}
				continue
			}
			byName[name] = library
			if library.file.Soname != "" {
				byName[library.file.Soname] = library
			}
			queue = append(queue, library)
		}
		l.checkVersions(o, byName)
	}
	return nil
}

// checkVersions compares the symbol versions that an object wants with what the libraries it got offer.
func (l *loader) checkVersions(o *object, byName map[string]*object) {
	if !l.inImage(o.path) {
		return
	}
	for _, want := range o.file.Wants {
		library := byName[want.Library]
		if library == nil || slices.Contains(library.file.Offers, want.Name) {
			continue // what is missing altogether is said already
		}
		l.add(o.path, "needs version %s of %s, which %s does not have; take the file from an older suite or release, or bring the library along",
			want.Name, want.Library, library.path)
	}
}

// find looks for a library that an object needs.
func (l *loader) find(name string, o *object) (*object, error) {
	if strings.Contains(name, "/") {
		return l.open(name, o)
	}
	for _, dir := range l.searched(o) {
		library, err := l.open(path.Join(dir, name), o)
		if err != nil || library != nil {
			return library, err
		}
	}
	return nil, nil
}

// searched are the directories where the libraries of an object are looked for.
func (l *loader) searched(o *object) []string {
	var dirs []string
	if len(o.file.Runpath) > 0 {
		dirs = expand(o, o.file.Runpath)
	} else {
		for by := o; by != nil; by = by.parent {
			if len(by.file.Runpath) == 0 {
				dirs = append(dirs, expand(by, by.file.Rpath)...)
			}
		}
	}
	return slices.Concat(dirs, l.configured, l.system)
}

// expand replaces $ORIGIN. What else the loader replaces differs between bases, and is refused elsewhere.
func expand(o *object, dirs []string) []string {
	var expanded []string
	for _, dir := range dirs {
		expanded = append(expanded, path.Clean(strings.NewReplacer("$ORIGIN", path.Dir(o.path), "${ORIGIN}", path.Dir(o.path)).Replace(dir)))
	}
	return expanded
}

// open opens a library. Like the loader, it passes over files for other machines.
func (l *loader) open(name string, by *object) (*object, error) {
	e, err := l.view.resolve(name)
	if err != nil || e.Type != tree.File {
		return nil, nil
	}
	dir := path.Dir(name)
	if l.inImage(e.Path) && slices.Contains(l.configured, dir) && !slices.Contains(l.system, dir) &&
		!slices.Contains(expand(by, by.file.Runpath), dir) {
		return nil, nil // it is not in the cache
	}
	f, err := l.facts.factsOf(l.view, e)
	if err != nil || f.elf == nil || f.elf.Machine != l.machine || f.elf.Class != by.file.Class {
		return nil, err
	}
	return &object{path: name, file: f.elf, parent: by}, nil
}
