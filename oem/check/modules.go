package check

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/bwrap"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// modulesDir is where the modules of all kernels lie.
const modulesDir = "/usr/lib/modules"

// isModule tells whether a path is that of a kernel module.
func isModule(name string) bool {
	base := path.Base(name)
	return strings.HasSuffix(base, ".ko") || slices.Contains([]string{".xz", ".zst", ".gz"}, path.Ext(base)) && strings.HasSuffix(strings.TrimSuffix(base, path.Ext(base)), ".ko")
}

// kernelOf returns the release of a base's kernel; empty if it has none or several.
func kernelOf(usr tree.Tree) string {
	var releases []string
	for _, e := range usr.Under(modulesDir) {
		if e.Type == tree.Dir && path.Dir(e.Path) == modulesDir {
			releases = append(releases, path.Base(e.Path))
		}
	}
	if len(releases) != 1 {
		return ""
	}
	return releases[0]
}

// kernelOptions returns what the base's own modules say that they were made for; empty if it has none.
func (c *check) kernelOptions(kernel string) (string, error) {
	for _, e := range c.view.base.Usr.Under(modulesDir + "/" + kernel) {
		if e.Type == tree.File && isModule(e.Path) {
			f, err := c.facts.factsOf(c.view, e)
			if err != nil || f.elf == nil {
				return "", err
			}
			return strings.TrimSpace(f.elf.Vermagic), nil
		}
	}
	return "", nil
}

// module checks that the base's kernel takes a module.
func (c *check) module(e tree.Entry, vermagic, kernel string) error {
	release, _, _ := strings.Cut(vermagic, " ")
	switch {
	case release != kernel:
		c.add(e.Path, "is for kernel %s, but the base has %s; build it for the base's", release, kernel)
		return nil
	case !strings.HasPrefix(e.Path, modulesDir+"/"+kernel+"/"):
		c.add(e.Path, "is a kernel module outside %s/%s; move it there", modulesDir, kernel)
		return nil
	}
	options, err := c.kernelOptions(kernel)
	if err == nil && options != "" && options != strings.TrimSpace(vermagic) {
		c.add(e.Path, "is for a kernel with other options (%q), but the base's is %q; build it for the base's", strings.TrimSpace(vermagic), options)
	}
	return err
}

// indexed reports modules that the image's index does not name, so that modprobe does not find them.
func (c *check) indexed() error {
	kernel := kernelOf(c.view.base.Usr)
	dir := modulesDir + "/" + kernel
	own := ownModules(c.view.image, kernel)
	if len(own) == 0 {
		return nil
	}
	named := map[string]bool{}
	if index, found := c.view.image.Find(dir + "/modules.dep"); found && index.Type == tree.File {
		content, err := c.view.readUpTo(index, maxIndex)
		if err != nil {
			return err
		}
		for line := range strings.Lines(content) {
			name, _, _ := strings.Cut(line, ":")
			named[path.Join(dir, name)] = true
		}
	}
	for _, e := range own {
		if !named[e.Path] {
			c.addRuntime(e.Path, "is a kernel module that no modules.dep names, so modprobe does not find it; it is made for a base that the host can run; "+
				"load the module by its path (insmod), or use modules: if it is one of the base's")
		}
	}
	return nil
}

// ownModules returns the modules of a tree for a kernel.
func ownModules(t tree.Tree, kernel string) tree.Tree {
	var own tree.Tree
	for _, e := range t.Under(modulesDir + "/" + kernel) {
		if e.Type == tree.File && isModule(e.Path) {
			own = append(own, e)
		}
	}
	return own
}

// maxIndex limits an index of modules. Those of Debian's kernel, with 4 000 modules, have 2 MB.
const maxIndex = 64 << 20

// index makes the indexes of the modules of a merged system, by the base's own depmod.
const index = `depmod --outdir /indexes "$1"`

// ModuleIndexes returns the indexes that the kernel's tools know modules by (depmod(8)), of base and image together, for a tree that brings
// modules of its own and no indexes. They replace the base's. Where the host cannot run the base's programs there are none.
func (c *Checker) ModuleIndexes(ctx context.Context, t tree.Tree) (tree.Tree, error) {
	kernel := kernelOf(c.base.Usr)
	if _, has := t.Find(modulesDir + "/" + kernel + "/modules.dep"); has || kernel == "" || len(ownModules(t, kernel)) == 0 || !c.Runs() {
		return nil, nil
	}
	files := func(made tree.Tree) (blobs []store.Blob) {
		for _, e := range made {
			if e.Type == tree.File {
				blobs = append(blobs, store.Blob{SHA256: e.SHA256, Size: e.Size})
			}
		}
		return blobs
	}
	return store.Memo(ctx, c.results.Step("module-indexes", []any{revision, c.digest, t}), files, func() (tree.Tree, error) {
		return c.makeIndexes(ctx, t, kernel)
	})
}

// makeIndexes runs depmod.
func (c *Checker) makeIndexes(ctx context.Context, t tree.Tree, kernel string) (tree.Tree, error) {
	work, err := os.MkdirTemp(c.scratch, "modules.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	whole := func(image *os.Root, name string, e tree.Entry) error { return e.WriteTo(image, name, c.blobs.CopyTo) }
	if err := c.layOut(work, t, whole); err != nil {
		return nil, err
	}
	out := filepath.Join(work, "indexes")
	if err := os.Mkdir(out, 0o755); err != nil {
		return nil, err
	}
	sandbox := slices.Concat([]string{"bwrap"}, bwrap.Root(bwrap.Alone, filepath.Join(work, "usr")), bwrap.ReadOnlyProc, []string{"--tmpfs", "/tmp", "--bind", out, "/indexes"})
	err = bwrap.Run(ctx, run.Cmd{
		Program: "unshare",
		Args:    slices.Concat([]string{"--mount", "--", "sh", "-c", merge, "merge", work}, sandbox, []string{"sh", "-c", index, "index", kernel}),
		Env:     bwrap.Env,
	})
	if err != nil {
		return nil, fmt.Errorf("indexes of kernel modules: %w", err)
	}
	return c.takeIndexes(out, modulesDir+"/"+kernel)
}

// takeIndexes returns the files below a directory that differ from the base's.
func (c *Checker) takeIndexes(from, dir string) (tree.Tree, error) {
	made, err := tree.Scan(from, c.blobs.Add)
	if err != nil {
		return nil, err
	}
	var indexes tree.Tree
	for _, e := range made {
		if e.Type != tree.File {
			continue
		}
		e.Path, e.Mode, e.UID, e.GID, e.Xattrs = dir+"/"+path.Base(e.Path), 0o644, 0, 0, nil
		if below, has := c.base.Usr.Find(e.Path); !has || below.SHA256 != e.SHA256 {
			indexes = append(indexes, e)
		}
	}
	return tree.Sorted(indexes).WithParents(c.base.Usr), nil
}
