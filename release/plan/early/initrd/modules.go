package initrd

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/xz"
)

// lists are what modprobe and udev know modules by. Those of the whole kernel cover what is in the initramfs as well as what is
// in the image, and hide the initramfs's own, which know nothing of the image.
var lists = []string{"modules.alias", "modules.alias.bin", "modules.dep", "modules.dep.bin", "modules.softdep"}

// maxModule is several times what the largest module takes unpacked.
const maxModule = 128 * size.MiB

// Modules returns what an initramfs needs to load modules of a kernel: the files of those that it has not, with what these
// depend on, firmware and lists of modules, all by their paths below /usr. A module that the kernel has built in needs nothing.
// Refused are names that the kernel does not know, modules that were made for another kernel, and an initramfs that would lose its own.
func (h *Host) Modules(usr fs.FS, release string, names []string) ([]string, error) {
	k := kernel{usr: usr, release: release, dir: path.Join("lib/modules", release), files: map[string]string{}, needs: map[string][]string{}, builtin: map[string]bool{}}
	if err := errors.Join(k.readDependencies(), k.readBuiltin()); err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, name := range names {
		if !k.knows(moduleName(name)) {
			return nil, fmt.Errorf("kernel %s has no module %s; wanted one of /usr/%s", release, name, k.dir)
		}
		if err := k.collect(h, moduleName(name), found); err != nil {
			return nil, err
		}
	}
	var paths []string
	for file := range found {
		paths = append(paths, file)
	}
	if len(paths) > 0 {
		if err := k.checkPacking(h); err != nil {
			return nil, err
		}
		for _, list := range lists {
			if file := path.Join(k.dir, list); k.has(file) {
				paths = append(paths, file)
			}
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// kernel is what a kernel has as modules.
type kernel struct {
	usr          fs.FS
	release, dir string
	files        map[string]string   // by module
	needs        map[string][]string // modules by module
	builtin      map[string]bool
}

// moduleName is how a kernel calls a module that is in a file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func (k *kernel) has(file string) bool {
	_, err := fs.Stat(k.usr, file)
	return err == nil
}

func (k *kernel) knows(module string) bool { return k.builtin[module] || k.files[module] != "" }

func (k *kernel) eachLine(list string, each func(line string)) error {
	f, err := k.usr.Open(path.Join(k.dir, list))
	if err != nil {
		return fmt.Errorf("modules of kernel %s: %w", k.release, err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		each(lines.Text())
	}
	return lines.Err()
}

func (k *kernel) readDependencies() error {
	return k.eachLine("modules.dep", func(line string) {
		file, needs, _ := strings.Cut(line, ":")
		module := moduleName(file)
		k.files[module] = file
		for _, need := range strings.Fields(needs) {
			k.needs[module] = append(k.needs[module], moduleName(need))
		}
	})
}

func (k *kernel) readBuiltin() error {
	return k.eachLine("modules.builtin", func(line string) { k.builtin[moduleName(line)] = true })
}

// collect notes the files of a module and of what it needs, but for those that the initramfs has.
func (k *kernel) collect(h *Host, module string, found map[string]bool) error {
	file := path.Join(k.dir, k.files[module])
	if k.builtin[module] || found[file] || h.Has(path.Join("usr", file)) {
		return nil
	}
	info, err := k.info(file)
	if err != nil {
		return fmt.Errorf("module %s: %w", module, err)
	}
	if made, _, _ := strings.Cut(strings.Join(info["vermagic"], ""), " "); made != k.release {
		return fmt.Errorf("module %s is for kernel %q; wanted %s", module, made, k.release)
	}
	found[file] = true
	for _, name := range info["firmware"] {
		for _, suffix := range []string{"", ".xz", ".zst"} {
			firmware := path.Join("lib/firmware", path.Clean("/"+name)+suffix)
			if k.has(firmware) && !h.Has(path.Join("usr", firmware)) {
				found[firmware] = true
			}
		}
	}
	for _, need := range append(softly(info["softdep"]), k.needs[module]...) {
		if !k.knows(need) {
			continue // a soft one need not be there
		}
		if err := k.collect(h, need, found); err != nil {
			return err
		}
	}
	return nil
}

// suffixes are those of modules, by how they are packed.
var suffixes = []string{"", ".gz", ".xz", ".zst"}

// checkPacking refuses lists in an initramfs that has modules by names which the lists do not know: it would find those no more.
func (k *kernel) checkPacking(h *Host) error {
	for _, module := range slices.Sorted(maps.Keys(k.files)) {
		listed := path.Join("usr", k.dir, k.files[module])
		if h.Has(listed) {
			continue
		}
		name, _, _ := strings.Cut(listed, ".ko")
		for _, suffix := range suffixes {
			if has := name + ".ko" + suffix; h.Has(has) {
				return fmt.Errorf("the initramfs has /%s, which the kernel's lists of modules call %s: with these lists, which modules "+
					"in an image need, it would not find it; pack the modules of the initramfs as those in /usr are packed", has, path.Base(listed))
			}
		}
	}
	return nil
}

// softly returns the modules that are to be loaded first where they are there (modprobe.d(5), softdep).
func softly(softdeps []string) []string {
	var before []string
	for _, text := range softdeps {
		first := false
		for _, word := range strings.Fields(text) {
			switch word {
			case "pre:", "post:":
				first = word == "pre:"
			default:
				if first {
					before = append(before, moduleName(word))
				}
			}
		}
	}
	return before
}

// info returns what a module says about itself: values by key.
func (k *kernel) info(file string) (map[string][]string, error) {
	f, err := k.usr.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	unpacked, err := unpack(f, path.Ext(file))
	if err != nil {
		return nil, fmt.Errorf("/usr/%s: %w", file, err)
	}
	content, err := io.ReadAll(io.LimitReader(unpacked, int64(maxModule)+1))
	if err == nil && len(content) > int(maxModule) {
		err = fmt.Errorf("more than %v", maxModule)
	}
	if err != nil {
		return nil, fmt.Errorf("/usr/%s: %w", file, err)
	}
	module, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("/usr/%s: %w", file, err)
	}
	section := module.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("/usr/%s has no section .modinfo; wanted a kernel module", file)
	}
	text, err := section.Data()
	info := map[string][]string{}
	for assignment := range strings.SplitSeq(string(text), "\x00") {
		if key, value, found := strings.Cut(assignment, "="); found {
			info[key] = append(info[key], value)
		}
	}
	return info, err
}

// unpack reads a module as kmod does, by what its file is called.
func unpack(in io.Reader, suffix string) (io.Reader, error) {
	switch suffix {
	case ".xz":
		return xz.NewReader(in)
	case ".gz":
		return gzip.NewReader(in)
	case ".zst":
		d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(maxModule)))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return in, nil
}
