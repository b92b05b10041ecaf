package check

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/check/accounts"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// view is the root directory of a machine with the image merged: the image over the base's /usr and the extensions that it merges by default,
// the base's default /etc, and the links of the merged-/usr layout. Everything else exists only at run time.
type view struct {
	image tree.Tree
	base  *target.Base
	blobs *store.Blobs
}

// lowerEtc is the base's lower layer of /etc.
const lowerEtc = "/usr/share/flatcar/etc"

// layout are the links in the root directory (file-hierarchy(7)).
var layout = map[string]string{"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/lib64": "usr/lib64"}

// errRuntime is for paths that only a running machine has, such as below /run.
var errRuntime = errors.New("exists only at run time")

// errLoop is for links that form a loop.
var errLoop = errors.New("is a loop of links")

// missingError names the part of a path that does not exist.
type missingError struct{ path string }

func (e *missingError) Error() string { return e.path + " is neither in the base nor in the image" }

// at returns the entry at a path without following links. Its Path is the requested one.
func (v *view) at(name string) (tree.Entry, error) {
	if target, isLayout := layout[name]; isLayout {
		return tree.Entry{Path: name, Type: tree.Symlink, Mode: 0o777, Target: target}, nil
	}
	if name == "/" || name == "/usr" || name == "/etc" {
		return tree.Entry{Path: name, Type: tree.Dir, Mode: 0o755}, nil
	}
	below, isEtc := strings.CutPrefix(name, "/etc/")
	if !isEtc && !strings.HasPrefix(name, "/usr/") {
		if e, found := v.image.Find(name); found { // /opt
			return e, nil
		}
		return tree.Entry{}, errRuntime
	}
	e, found := v.image.Find(name)
	if !found && isEtc {
		e, found = v.base.Usr.Find(lowerEtc + "/" + below)
	} else if !found {
		e, found = v.base.Usr.Find(name)
	}
	if !found {
		e, found = v.base.Merged.Find(name)
	}
	if !found {
		return tree.Entry{}, &missingError{name}
	}
	e.Path = name
	return e, nil
}

// maxLinks is how many links the kernel follows in one path (path_resolution(7)).
const maxLinks = 40

// resolve follows all links and returns the final entry, with its path.
func (v *view) resolve(name string) (tree.Entry, error) {
	return v.follow(path.Clean(name), maxLinks)
}

func (v *view) follow(name string, links int) (tree.Entry, error) {
	if name == "/" {
		return v.at(name)
	}
	parent, err := v.follow(path.Dir(name), links)
	if err != nil {
		return tree.Entry{}, err
	}
	if parent.Type != tree.Dir {
		return tree.Entry{}, &missingError{name}
	}
	e, err := v.at(path.Join(parent.Path, path.Base(name)))
	if err != nil || e.Type != tree.Symlink {
		return e, err
	}
	if links == 0 {
		return tree.Entry{}, errLoop
	}
	if path.IsAbs(e.Target) {
		return v.follow(path.Clean(e.Target), links-1)
	}
	return v.follow(path.Join(parent.Path, e.Target), links-1)
}

// executable tells whether a path leads to an executable file.
func (v *view) executable(name string) bool {
	e, err := v.resolve(name)
	return err == nil && e.Type == tree.File && e.Mode&0o111 != 0
}

// find searches a program like a shell or systemd: by absolute path or in programDirs.
func (v *view) find(program string) bool {
	if strings.Contains(program, "/") {
		return v.executable(program)
	}
	return slices.ContainsFunc(programDirs, func(dir string) bool { return v.executable(path.Join(dir, program)) })
}

// programDirs is systemd's PATH for services (systemd.exec(5)).
var programDirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"}

// open opens a file's content.
func (v *view) open(e tree.Entry) (*os.File, error) {
	if _, inImage := v.image.Find(e.Path); inImage {
		return os.Open(v.blobs.Path(e.SHA256))
	}
	if _, inUsr := v.base.Usr.Find(e.Path); !inUsr {
		if _, isMerged := v.base.Merged.Find(e.Path); isMerged {
			return os.Open(v.blobs.Path(e.SHA256))
		}
	}
	name := strings.TrimPrefix(e.Path, "/usr/")
	if below, isEtc := strings.CutPrefix(e.Path, "/etc/"); isEtc {
		name = strings.TrimPrefix(lowerEtc, "/usr/") + "/" + below
	}
	return os.Open(filepath.Join(v.base.Dir, name))
}

// maxText limits configuration files.
const maxText = 1 << 20

// read returns the content of a file that is text.
func (v *view) read(e tree.Entry) (string, error) { return v.readUpTo(e, maxText) }

func (v *view) readUpTo(e tree.Entry, most int64) (string, error) {
	if e.Size > most {
		return "", fmt.Errorf("%s has %d bytes; wanted a text file of at most %d", e.Path, e.Size, most)
	}
	f, err := v.open(e)
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, most))
	return string(content), err
}

// accounts are the accounts of a booted machine.
func (v *view) accounts() (*accounts.Database, error) {
	known, err := accounts.Read(v.base)
	if err != nil {
		return nil, err
	}
	for _, e := range v.below("/usr/lib/sysusers.d", ".conf") {
		if e, err = v.resolve(e.Path); err != nil {
			continue // the check of links says it
		}
		content, err := v.read(e)
		if err != nil {
			return nil, err
		}
		known.AddSysusers(content)
	}
	return known, nil
}

// below returns files and links with a suffix directly in a directory of base and image, by name.
// The image's replace the base's.
func (v *view) below(dir, suffix string) []tree.Entry {
	byName := map[string]tree.Entry{}
	for _, side := range []struct {
		tree tree.Tree
		dir  string
	}{{v.base.Usr, strings.Replace(dir, "/etc/", lowerEtc+"/", 1)}, {v.base.Merged, dir}, {v.image, dir}} {
		for _, e := range side.tree.Under(side.dir) {
			name := path.Base(e.Path)
			if path.Dir(e.Path) == side.dir && e.Type != tree.Dir && strings.HasSuffix(name, suffix) {
				e.Path = path.Join(dir, name)
				byName[name] = e
			}
		}
	}
	var found []tree.Entry
	for _, e := range byName {
		found = append(found, e)
	}
	return tree.Sorted(found)
}
