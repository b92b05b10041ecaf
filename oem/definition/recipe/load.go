package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// Set is all recipes by name.
type Set map[string]*Recipe

// Load reads every recipe of the directory dir in fsys.
// It returns the valid recipes and the mistakes of all files.
func Load(fsys fs.FS, dir string) (Set, strictyaml.Mistakes) {
	set := Set{}
	mistakes := strictyaml.Files(fsys, path.Join(dir, "*", FileName), func(file string, content []byte) strictyaml.Mistakes {
		r := &Recipe{File: file}
		set[path.Base(path.Dir(file))] = r
		found := strictyaml.Decode(file, content, r)
		if reflect.DeepEqual(r, &Recipe{File: file}) { // nothing was read, which is said
			return found
		}
		c := checker{recipe: r, fsys: fsys}
		c.check()
		return append(found, c.mistakes...)
	})
	return set, slices.Concat(mistakes, unread(fsys, dir), set.checkNeeds())
}

// unread reports what lies where recipes do and is none: links, and definitions under another name.
func unread(fsys fs.FS, dir string) (mistakes strictyaml.Mistakes) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return strictyaml.Mistakes{{File: dir, Line: 1, Text: err.Error()}}
	}
	for _, entry := range entries {
		name, text := path.Join(dir, entry.Name()), ""
		switch {
		case entry.Type() == fs.ModeSymlink:
			text = "is a link; wanted a directory of its own"
		case entry.IsDir():
			mistakes = append(mistakes, unreadBeside(fsys, name)...)
		case strictyaml.LooksLike(entry.Name()):
			text = fmt.Sprintf("is not read; wanted a file %s in a directory of its own", FileName)
		}
		if text != "" {
			mistakes = append(mistakes, strictyaml.Mistake{File: name, Line: 1, Text: text})
		}
	}
	return mistakes
}

// unreadBeside reports files of a recipe's directory that are called almost like its definition, and a directory without one.
func unreadBeside(fsys fs.FS, dir string) (mistakes strictyaml.Mistakes) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return strictyaml.Mistakes{{File: dir, Line: 1, Text: err.Error()}}
	}
	has := false
	for _, entry := range entries {
		if entry.Name() == FileName {
			has = true
			continue
		}
		if !entry.IsDir() && strictyaml.LooksLike(entry.Name()) {
			mistakes = append(mistakes, strictyaml.Mistake{File: path.Join(dir, entry.Name()), Line: 1, Text: "is not read; wanted " + FileName})
		}
	}
	if !has && len(mistakes) == 0 && len(entries) > 0 && !isCollection(fsys, dir, entries) {
		mistakes = append(mistakes, strictyaml.Mistake{File: dir, Line: 1, Text: "has no " + FileName + "; add it, or remove the directory"})
	}
	return mistakes
}

// isCollection tells whether a directory has only directories of recipes, as that of the examples, which are not in the catalogue.
func isCollection(fsys fs.FS, dir string, entries []fs.DirEntry) bool {
	return !slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		_, err := fs.Stat(fsys, path.Join(dir, e.Name(), FileName))
		return err != nil
	})
}

// checker finds mistakes in one recipe that strictyaml cannot see.
type checker struct {
	recipe   *Recipe
	fsys     fs.FS
	mistakes strictyaml.Mistakes
}

func (c *checker) add(line strictyaml.Line, format string, args ...any) {
	c.mistakes = append(c.mistakes, strictyaml.Mistake{File: c.recipe.File, Line: max(line, 1), Text: fmt.Sprintf(format, args...)})
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

func (c *checker) check() {
	r := c.recipe
	if dir := path.Base(path.Dir(r.File)); r.Name.Line > 0 && r.Name.Value != dir {
		c.add(r.Name.Line, "name %q; wanted %q, like the directory", r.Name, dir)
	}
	if !validName.MatchString(path.Base(path.Dir(r.File))) {
		c.add(r.Name.Line, "directory %q; wanted lower case letters, digits and hyphens", path.Dir(r.File))
	}
	for _, source := range r.Sources {
		c.source(source)
	}
	c.families()
	if r.Files.Value != "" {
		c.directory(r.Files, "/")
	}
	c.programs()
	c.script()
	c.units()
	c.special()
	CheckModules(r.Modules, c.add)
}

var validModule = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// CheckModules reports names that cannot be kernel modules, of a recipe or a platform.
func CheckModules(modules []strictyaml.Text, add func(line strictyaml.Line, format string, args ...any)) {
	for _, module := range modules {
		if !validModule.MatchString(module.Value) {
			add(module.Line, "module %q; wanted letters, digits, - and _", module)
		}
	}
}

func (c *checker) packageName(name strictyaml.Text) {
	if !validPackage.MatchString(name.Value) {
		c.add(name.Line, "package %q is no package's name; wanted one such as open-vm-tools", name)
	}
}

func (c *checker) suite(line strictyaml.Line, suite string) {
	if suite != "" && !validName.MatchString(suite) {
		c.add(line, "suite %q is none; wanted a code name such as trixie", suite)
	}
}

// executable checks for an executable script beside the definition.
func (c *checker) executable(name strictyaml.Text) {
	info, err := fs.Stat(c.fsys, c.beside(name.Value))
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o100 == 0 {
		c.add(name.Line, "run: %q is not an executable file beside %s; wanted a script (chmod +x)", name, FileName)
	}
}

func (c *checker) programs() {
	modules := 0
	for _, source := range c.recipe.Sources {
		if source.Go != nil {
			modules++
		}
	}
	for _, program := range c.recipe.Build.Go {
		if modules != 1 {
			c.add(program.Line, "build: go: needs exactly one go source; the recipe has %d", modules)
		}
		if program.Package != "." && !strings.HasPrefix(program.Package, "./") {
			c.add(program.Line, "package %q; wanted a path in the module such as ./cmd/agent", program.Package)
		}
	}
	if modules > 0 && len(c.recipe.Build.Go) == 0 {
		c.add(c.recipe.GoModule().Line, "nothing is built from the go source; add build: {go: [{package: …, to: …}]}")
	}
}

// Unit names as systemd.unit(5) has them, without templates' instances.
var validUnit = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]+\.(service|socket|target|path|timer|mount)$`)

func (c *checker) units() {
	for upholder, units := range c.recipe.Units.Upholds {
		for _, unit := range append(slices.Clone(units), upholder) {
			if !validUnit.MatchString(unit) {
				c.add(c.recipe.Name.Line, "units: %q is not a unit's name; wanted one such as agent.service", unit)
			}
		}
	}
}

func (c *checker) special() {
	for _, name := range slices.Sorted(maps.Keys(c.recipe.Special)) {
		if err := new(Path).UnmarshalText([]byte(name)); err != nil {
			c.add(c.recipe.Name.Line, "special: %v", err)
		}
	}
}

// CheckName refuses text that cannot be a recipe's name.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("recipe %q; wanted lower case letters, digits and hyphens", name)
	}
	return nil
}
