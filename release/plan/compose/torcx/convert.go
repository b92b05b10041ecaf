package torcx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// converter has the places of all files of a package.
type converter struct {
	from, to *os.Root
	places   map[string]string // by path in the package; both relative
}

// convert copies a package's files to where they belong.
func convert(from, to *os.Root, m manifest) error {
	c := &converter{from, to, map[string]string{}}
	for _, assets := range m.assets() {
		for _, asset := range assets.list {
			if err := c.placeAsset(asset, assets.dir); err != nil {
				return fmt.Errorf("asset %q: %w", asset, err)
			}
		}
	}
	if err := c.placeRest(); err != nil {
		return err
	}
	taken := map[string]string{}
	for _, at := range slices.Sorted(maps.Keys(c.places)) {
		target := c.places[at]
		if other, twice := taken[target]; twice {
			return fmt.Errorf("%s and %s both go to /%s; remove one", other, at, target)
		}
		taken[target] = at
		if err := c.copy(at, target); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}

// placeAsset places a file, or all files of a directory, in a directory.
func (c *converter) placeAsset(asset, dir string) error {
	name := strings.TrimPrefix(path.Clean("/"+asset), "/")
	if name == "" {
		return errors.New("is the whole package; wanted a file in it")
	}
	if _, err := c.from.Readlink(name); err == nil { // walking would follow it
		c.places[name] = path.Join(dir, path.Base(name))
		return nil
	}
	return fs.WalkDir(c.from.FS(), name, func(at string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			c.places[at] = path.Join(dir, path.Base(name), strings.TrimPrefix(at, name))
		}
		return err
	})
}

// placeRest places what is no asset.
func (c *converter) placeRest() error {
	return fs.WalkDir(c.from.FS(), ".", func(at string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case at == path.Dir(manifestFile):
			return fs.SkipDir
		case d.IsDir() || c.places[at] != "":
			return nil
		}
		c.places[at] = destination(at)
		return nil
	})
}

// destination is where a path of a package goes that is no asset.
func destination(at string) string {
	top, _, _ := strings.Cut(at, "/")
	switch {
	case top == "usr":
		return at
	case slices.Contains([]string{"bin", "sbin", "lib", "lib64", "libexec", "share"}, top):
		return "usr/" + at
	}
	return "usr/share/torcx/" + at
}

func (c *converter) copy(at, target string) error {
	if err := c.to.MkdirAll(path.Dir(target), 0o755); err != nil {
		return err
	}
	if link, err := c.from.Readlink(at); err == nil {
		return c.to.Symlink(c.refer(link), target)
	}
	in, err := c.from.Open(at)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	content, err := c.content(in, info.Size(), target)
	if err != nil {
		return err
	}
	out, err := c.to.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	return errors.Join(err, out.Chmod(mode), out.Close()) // whatever the umask
}

// content returns what a file has afterwards: texts do not refer to Torcx any more.
func (c *converter) content(in io.Reader, length int64, target string) (io.Reader, error) {
	isUnit := strings.HasPrefix(target, unitDir+"/")
	if length > maxText {
		if isUnit {
			return nil, fmt.Errorf("has more than %d bytes", maxText)
		}
		return in, nil
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	if isUnit {
		text = withoutTorcx(text)
	}
	if utf8.Valid(text) && !bytes.Contains(text, []byte{0}) {
		text = []byte(c.refer(string(text)))
	}
	return bytes.NewReader(text), nil
}

// unpacked is a path in the directory where Torcx unpacks a package: by its variables, or as it is.
var unpacked = regexp.MustCompile(`(?:\$\{?TORCX_UNPACKDIR\}?\$\{?TORCX_IMAGEDIR\}?|/run/torcx/unpack/[^/\s"':]+)(/[A-Za-z0-9_./+@-]*)?`)

// programs is the directory where Torcx links programs.
var programs = regexp.MustCompile(`\$\{TORCX_BINDIR\}|\$TORCX_BINDIR\b|/run/torcx/bin\b`)

// refer replaces the places of Torcx in a text.
func (c *converter) refer(text string) string {
	text = unpacked.ReplaceAllStringFunc(text, func(found string) string {
		at := strings.Trim(unpacked.FindStringSubmatch(found)[1], "/")
		switch place := c.places[at]; {
		case at == "":
			return "/usr"
		case place != "":
			return "/" + place
		}
		return "/" + destination(at)
	})
	return programs.ReplaceAllLiteralString(text, "/usr/bin")
}

// withoutTorcx removes Torcx's target and environment file from a unit.
func withoutTorcx(unit []byte) []byte {
	var kept bytes.Buffer
	for line := range bytes.Lines(unit) {
		if !bytes.Contains(line, []byte("/run/metadata/torcx")) && !bytes.Contains(line, []byte("torcx.target")) {
			kept.Write(line)
		}
	}
	return kept.Bytes()
}
