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
	path   string // as opened; $ORIGIN is its directory
	file   *elf.File
	parent *object // the object that needs it; nil for the first
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

// newLoader reads the configuration of the base's loader. Without a loader no library is found.
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

// ldConf reads a configuration file of the loader and its includes (ldconfig(8)).
// Debian's default file only has an include, and may be missing.
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

// parseLdConf returns the directories and the include patterns of one file; relative patterns are below its directory.
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

// In glibc's loader the built-in directories are consecutive strings that end in a slash.
var builtIn = regexp.MustCompile(`(?:/[A-Za-z0-9_./+-]*/\x00){2,}`)

// maxLoader limits the loader itself, which has about 250 KB.
const maxLoader = 16 << 20

// systemDirs finds the directories built into a loader. Its --list-diagnostics prints them too,
// but only runs on the native architecture.
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

// load loads a program or library with its dependencies, breadth first like the loader,
// and calls visit for each object. Errors in files of the image become problems.
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
					l.add(o.path, "needs %s, which is not in its search path (%s); add a recipe or package with it, or prune the file",
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

// checkVersions compares the symbol versions that an object needs with those of the libraries found.
func (l *loader) checkVersions(o *object, byName map[string]*object) {
	if !l.inImage(o.path) {
		return
	}
	for _, want := range o.file.Wants {
		library := byName[want.Library]
		if library == nil || slices.Contains(library.file.Offers, want.Name) {
			continue // a missing library is reported already
		}
		l.add(o.path, "needs version %s of %s, which %s does not have; use the file of an older suite or release, or add the library",
			want.Name, want.Library, library.path)
	}
}

// find searches a library that an object needs.
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

// searched are the directories searched for the libraries of an object.
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

// expand replaces $ORIGIN. Other variables differ between bases; another check refuses them.
func expand(o *object, dirs []string) []string {
	var expanded []string
	for _, dir := range dirs {
		expanded = append(expanded, path.Clean(strings.NewReplacer("$ORIGIN", path.Dir(o.path), "${ORIGIN}", path.Dir(o.path)).Replace(dir)))
	}
	return expanded
}

// open opens a library. Like the loader, it skips files for other machines.
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
