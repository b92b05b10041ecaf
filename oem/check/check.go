// Package check verifies that a tree works when merged over a base. It returns all problems, each with a remedy.
//
// It checks what the kernel, the dynamic loader, the shell and systemd depend on: machines, loaders, libraries and
// symbol versions of ELF files, interpreters of scripts, links, programs of units, versions of kernel modules.
// Nothing in the tree is run (but see Works), so trees for foreign architectures are checked as well. On the native architecture
// the base's systemd also checks the tree.
package check

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// revision is part of the cache key. Raise it when the verdict on an unchanged tree, or its wording, may change.
const revision = 8

// Problem is an error at one path of a tree.
type Problem struct {
	Path string `json:"path"`
	Text string `json:"text"` // what is wrong; what to do
	// Runtime tells that a running machine may have what is missing, made by an administrator or by another program.
	Runtime bool `json:"runtime,omitempty"`
}

func (p Problem) String() string { return p.Path + " " + p.Text }

// Checker checks trees for one base. It may be used concurrently.
type Checker struct {
	base    *target.Base
	digest  digest.SHA256 // of the base's /usr, and of what it merges
	blobs   *store.Blobs
	results *store.Results
	scratch string
	facts   factsCache
}

// New returns a checker for trees whose contents are in blobs. Findings are cached in results by tree and base.
// Temporary files are in scratch, a directory on the blobs' file system.
func New(base *target.Base, blobs *store.Blobs, results *store.Results, scratch string) (*Checker, error) {
	d, err := digest.OfInputs(base.Usr)
	if err == nil && len(base.Merged) > 0 {
		d, err = digest.OfInputs([]any{base.Usr, base.Merged})
	}
	return &Checker{base: base, digest: d, blobs: blobs, results: results, scratch: scratch}, err
}

// Tree returns all problems of a tree, by path.
func (c *Checker) Tree(ctx context.Context, t tree.Tree) ([]Problem, error) {
	return store.Memo(ctx, c.results.Step("check", []any{revision, c.base.Arch, c.digest, t}), store.Nothing, func() ([]Problem, error) {
		return c.run(ctx, t)
	})
}

func (c *Checker) run(ctx context.Context, t tree.Tree) ([]Problem, error) {
	one := &check{view: &view{image: t, base: c.base, blobs: c.blobs}, facts: &c.facts, machine: c.base.Arch.Machine()}
	for _, step := range []func() error{one.names, one.files, one.links, one.libraries, one.units, one.late, one.indexed, one.beside} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := step(); err != nil {
			return nil, err
		}
	}
	said, err := c.systemd(ctx, t)
	if err != nil {
		return nil, err
	}
	one.problems = append(one.problems, said...)
	slices.SortStableFunc(one.problems, func(a, b Problem) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(one.problems), nil
}

// check is the check of one tree.
type check struct {
	view     *view
	facts    *factsCache
	machine  elf.Machine
	problems []Problem
}

func (c *check) add(path, format string, args ...any) {
	c.problems = append(c.problems, Problem{Path: path, Text: fmt.Sprintf(format, args...)})
}

// addRuntime adds a problem that a running machine may not have.
func (c *check) addRuntime(path, format string, args ...any) {
	c.problems = append(c.problems, Problem{Path: path, Text: fmt.Sprintf(format, args...), Runtime: true})
}

// inImage tells whether a path leads to a file of the image.
func (c *check) inImage(name string) bool {
	e, err := c.view.resolve(name)
	if err != nil {
		return false
	}
	_, found := c.view.image.Find(e.Path)
	return found
}

// names checks that names and targets of links do nothing where they are shown.
func (c *check) names() error {
	for _, e := range c.view.image {
		if err := errors.Join(foreign.Check(e.Path), foreign.Check(e.Target)); err != nil {
			c.add(foreign.Line(e.Path), "its name or target does something where it is shown; rename it, or prune it")
		}
	}
	return nil
}

// beside reports files that an extension of the base has as well, with other content: the order of images decides which one a machine has.
func (c *check) beside() error {
	for _, e := range c.view.image {
		other, has := c.view.base.Merged.Find(e.Path)
		same := e.Type == other.Type && e.SHA256 == other.SHA256 && e.Target == other.Target // as all directories are
		if has && !same {
			c.addRuntime(e.Path, "differs from that of an extension that the base merges by default; prune it, or use a drop-in")
		}
	}
	return nil
}

// files checks each file by itself.
func (c *check) files() error {
	kernel := kernelOf(c.view.base.Usr)
	for _, e := range c.view.image {
		if e.Type != tree.File {
			continue
		}
		f, err := c.facts.factsOf(c.view, e)
		if err != nil {
			return err
		}
		switch {
		case f.broken != "":
			c.add(e.Path, "is an ELF file that cannot be read (%s); prune it", f.broken)
		case f.elf != nil:
			if err := c.elf(e, &object{path: e.Path, file: f.elf}, kernel); err != nil {
				return err
			}
		case f.crlf && e.Mode&0o111 != 0:
			c.add(e.Path, "has CRLF line ends, so that the kernel looks for an interpreter whose name ends with CR; write it with LF")
		case f.interpreter != nil && e.Mode&0o111 != 0:
			c.script(e, f.interpreter)
			if err := c.calls(e, f.interpreter); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *check) elf(e tree.Entry, o *object, kernel string) error {
	f := o.file
	if f.Machine == elf.EM_NONE && f.Interpreter == "" {
		return nil // byte code, such as Guile's; the kernel and the loader refuse it
	}
	if f.Machine != c.machine || f.Class != elf.ELFCLASS64 {
		c.add(e.Path, "is for %v %v; wanted %v %v, or prune it", f.Machine, f.Class, c.machine, elf.ELFCLASS64)
		return nil
	}
	if f.Interpreter != "" && !c.view.executable(f.Interpreter) {
		c.add(e.Path, "wants the loader %s, which does not exist; build it for the base, or prune it", f.Interpreter)
	}
	for i, dir := range expand(o, slices.Concat(f.Runpath, f.Rpath)) {
		if strings.Contains(dir, "$") || !strings.HasPrefix(dir, "/usr/") {
			c.add(e.Path, "looks for libraries in %s; wanted $ORIGIN or a directory below /usr in its RUNPATH (patchelf --set-rpath)",
				slices.Concat(f.Runpath, f.Rpath)[i])
		}
	}
	if f.Vermagic == "" {
		return nil
	}
	return c.module(e, f.Vermagic, kernel)
}

// script checks that the interpreter in the first line exists.
func (c *check) script(e tree.Entry, words []string) {
	if len(words) == 0 {
		c.add(e.Path, "begins with #! but names no interpreter; add it")
		return
	}
	if !c.view.executable(words[0]) {
		c.add(e.Path, "wants the interpreter %s, which does not exist; add a recipe or package with it, or prune the script", words[0])
		return
	}
	if path.Base(words[0]) != "env" {
		return
	}
	for _, word := range words[1:] {
		if strings.HasPrefix(word, "-") || strings.Contains(word, "=") {
			continue
		}
		if !c.view.find(word) {
			c.add(e.Path, "wants the interpreter %s, which is in none of %s; add a recipe or package with it, or prune the script",
				word, strings.Join(programDirs, ", "))
		}
		return
	}
}

// libraries loads each program, and each library that no program loads, with all dependencies.
func (c *check) libraries() error {
	l, err := newLoader(c)
	if err != nil {
		return err
	}
	var programs, others []*object
	for _, e := range c.view.image {
		if e.Type != tree.File {
			continue
		}
		f, err := c.facts.factsOf(c.view, e)
		if err != nil {
			return err
		}
		if f.elf == nil || f.elf.Machine != c.machine || f.elf.Class != elf.ELFCLASS64 {
			continue
		}
		o := &object{path: e.Path, file: f.elf}
		if f.elf.Interpreter != "" {
			programs = append(programs, o)
		} else if len(f.elf.Needed) > 0 {
			others = append(others, o)
		}
		c.shadow(l, e)
	}
	loaded := map[string]bool{}
	visit := func(name string) {
		if e, err := c.view.resolve(name); err == nil {
			loaded[e.Path] = true
		}
	}
	for _, o := range programs {
		if err := l.load(o, visit); err != nil {
			return err
		}
	}
	for _, o := range others {
		if loaded[o.path] {
			continue
		}
		if err := l.load(o, visit); err != nil {
			return err
		}
	}
	return nil
}

// shadow refuses a library in the default search path if the base has one of that name elsewhere in the path:
// the order of directories would decide which one programs get.
func (c *check) shadow(l *loader, e tree.Entry) {
	if !slices.Contains(l.realSystem(), path.Dir(e.Path)) {
		return
	}
	for _, dir := range slices.Concat(l.realSystem(), l.configured) {
		other := path.Join(dir, path.Base(e.Path))
		if _, has := c.view.base.Usr.Find(other); has && other != e.Path {
			c.add(e.Path, "hides %s of the base, or is hidden by it; move it to a private directory and set the RUNPATH of its users", other)
			return
		}
	}
}

// realSystem returns the loader's directories below /usr.
func (l *loader) realSystem() []string {
	var dirs []string
	for _, dir := range l.system {
		if e, err := l.view.resolve(dir); err == nil && !slices.Contains(dirs, e.Path) {
			dirs = append(dirs, e.Path)
		}
	}
	return dirs
}

// links finds dangling links.
func (c *check) links() error {
	made, err := c.runtimePaths()
	if err != nil {
		return err
	}
	for _, e := range c.view.image {
		if e.Type != tree.Symlink {
			continue
		}
		_, err := c.view.resolve(e.Path)
		if err == nil {
			continue
		}
		target := e.Target
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(e.Path), target)
		}
		if made.has(target) {
			continue
		}
		add := c.add
		if missing := (*missingError)(nil); errors.Is(err, errRuntime) || errors.As(err, &missing) && under(missing.path, "/etc") {
			add = c.addRuntime
		}
		add(e.Path, "is a link to %s: %v; add the target or create it with tmpfiles.d, or prune the link", e.Target, err)
	}
	return nil
}
