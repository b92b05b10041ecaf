package debian

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/flatcar/oem-sysext/oem/archive"
	"github.com/flatcar/oem-sysext/oem/atomicfile"
	"github.com/flatcar/oem-sysext/oem/digest"
	"github.com/flatcar/oem-sysext/oem/fetch"
	"github.com/flatcar/oem-sysext/oem/size"
)

// Packages is what a suite and its pockets offer for one architecture: of each package the highest version.
type Packages struct {
	suite, arch string
	byName      map[string]*candidate
	provides    map[string][]provided // by the provided name
}

// candidate is the highest version of a package. Most of the 70 000 are never looked at, so the rest stays text.
type candidate struct {
	name, version, pocket string
	provides              string // the field of that name
	text                  string // its stanza
}

// provided is a package that provides a name, in a version or (empty) without.
type provided struct {
	by      *candidate
	version string
	rank    int // of the package
}

// Packages loads the package indexes of the release, from the cache when they did not change.
func (r *Release) Packages(ctx context.Context) (*Packages, error) {
	all := newPackages(r.Suite, r.Arch)
	for _, p := range r.pockets {
		text, err := r.indexText(ctx, p)
		if err == nil {
			err = all.add(p.name, text)
		}
		if err != nil {
			return nil, fmt.Errorf("packages of %s: %w", p.name, err)
		}
	}
	if err := all.collectProvides(); err != nil {
		return nil, err
	}
	return all, nil
}

func newPackages(suite, arch string) *Packages {
	return &Packages{suite: suite, arch: arch, byName: map[string]*candidate{}, provides: map[string][]provided{}}
}

// indexText returns the needed fields of a pocket's index.
func (r *Release) indexText(ctx context.Context, p pocket) (string, error) {
	cached := filepath.Join(r.archive.CacheDir, p.name+"_"+r.Arch)
	if r.archive.CacheDir != "" {
		if text, ok := readCached(cached, p.index.SHA256); ok {
			return text, nil
		}
	}
	path, err := r.archive.Store.File(ctx, p.index)
	if errors.Is(err, fetch.ErrNotFound) {
		err = fmt.Errorf("the mirror is being updated, try again in some minutes: %w", err)
	}
	if err != nil {
		return "", err
	}
	text, err := reduceFile(path)
	if err != nil {
		return "", err
	}
	if r.archive.CacheDir == "" {
		return text, nil
	}
	return text, writeCached(cached, p.index.SHA256, text)
}

// neededFields are the fields that resolving and fetching need: a third of an index.
var neededFields = map[string]bool{
	"Package": true, "Version": true, "Architecture": true, "Priority": true, "Provides": true,
	"Depends": true, "Pre-Depends": true, "Filename": true, "Size": true, "SHA256": true,
}

// reduceFile reads an index, which may be compressed, and returns its needed fields.
func reduceFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	plain, err := archive.Decompress(file)
	if err != nil {
		return "", err
	}
	defer plain.Close()
	return reduce(plain)
}

// reduce returns the needed fields of each stanza, one line each.
func reduce(index io.Reader) (string, error) {
	var out strings.Builder
	var fields []field
	for reader := newStanzaReader(index); ; {
		text, err := reader.next()
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err == nil {
			fields, err = appendFields(fields[:0], text)
		}
		if err != nil {
			return "", fmt.Errorf("before line %d: %w", reader.line, err)
		}
		for _, f := range fields {
			if neededFields[f.name] {
				out.WriteString(f.name + ": " + strings.ReplaceAll(f.value, "\n", "") + "\n")
			}
		}
		out.WriteByte('\n')
	}
}

// cacheVersion is part of a cached index's first line. Raise it when neededFields or the form changes.
const cacheVersion = "1"

// cacheLine is the first line of a cached index: what it was made from and what it must hold.
func cacheLine(source digest.SHA256, text string) (string, error) {
	sum, _, err := digest.OfReader(strings.NewReader(text))
	return fmt.Sprintf("oem-sysext packages %s %v %v\n", cacheVersion, source, sum), err
}

// readCached returns a cached index if it is whole and made from this source.
func readCached(path string, source digest.SHA256) (text string, ok bool) {
	file, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer file.Close()
	var content strings.Builder // unlike os.ReadFile it gives a string without a second copy
	if info, err := file.Stat(); err == nil {
		content.Grow(int(info.Size()))
	}
	if _, err := io.Copy(&content, file); err != nil {
		return "", false
	}
	line, text, _ := strings.Cut(content.String(), "\n")
	want, err := cacheLine(source, text)
	return text, err == nil && line+"\n" == want
}

func writeCached(path string, source digest.SHA256, text string) error {
	line, err := cacheLine(source, text)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(path, 0o644, func(w io.Writer) error {
		_, err := io.Copy(w, io.MultiReader(strings.NewReader(line), strings.NewReader(text)))
		return err
	})
}

// add takes the packages of one pocket in, of each name and architecture the highest version. On a tie the pocket added first wins.
func (p *Packages) add(pocket, text string) error {
	var fields []field
	for text != "" {
		var one string
		one, text, _ = strings.Cut(text, "\n\n")
		var err error
		if fields, err = appendFields(fields[:0], one); err != nil {
			return err
		}
		c := &candidate{pocket: pocket, text: one}
		for _, f := range fields {
			switch f.name {
			case "Package":
				c.name = f.value
			case "Version":
				c.version = f.value
			case "Provides":
				c.provides = f.value
			}
		}
		if !validName(c.name) || c.version == "" {
			return fmt.Errorf("package %q has the version %q; wanted a name and a version", c.name, c.version)
		}
		if best := p.byName[c.name]; best == nil || CompareVersions(c.version, best.version) > 0 {
			p.byName[c.name] = c
		}
	}
	return nil
}

// collectProvides finds out who provides which name, once it is known which versions count.
// Of several, the more important (field Priority) comes first, then the first by name.
func (p *Packages) collectProvides() error {
	for _, c := range p.byName {
		if c.provides == "" {
			continue
		}
		names, err := parseGroups(c.provides)
		if err != nil {
			return fmt.Errorf("package %s %s, field Provides: %w", c.name, c.version, err)
		}
		rank := c.rank()
		for _, name := range names {
			p.provides[name[0].name] = append(p.provides[name[0].name], provided{c, name[0].version, rank})
		}
	}
	for _, providers := range p.provides {
		slices.SortFunc(providers, func(a, b provided) int {
			return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.by.name, b.by.name), strings.Compare(a.version, b.version))
		})
	}
	return nil
}

// field returns a field of the candidate's stanza, or nothing.
func (c *candidate) field(name string) string {
	for text := c.text; text != ""; {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		if value, found := strings.CutPrefix(line, name+": "); found {
			return value
		}
	}
	return ""
}

// rank orders by importance (Debian policy 2.5); smaller is more important.
func (c *candidate) rank() int {
	known := []string{"required", "important", "standard", "optional", "extra"}
	if i := slices.Index(known, c.field("Priority")); i >= 0 {
		return i
	}
	return len(known)
}

// dependencies returns what the candidate needs: Pre-Depends, then Depends.
func (c *candidate) dependencies() ([]group, error) {
	var all []group
	for _, name := range []string{"Pre-Depends", "Depends"} {
		groups, err := parseGroups(c.field(name))
		if err != nil {
			return nil, fmt.Errorf("package %s %s, field %s: %w", c.name, c.version, name, err)
		}
		all = append(all, groups...)
	}
	return all, nil
}

// published returns the candidate as callers get it.
func (c *candidate) published() (Package, error) {
	length, err := strconv.ParseInt(c.field("Size"), 10, 63)
	if err != nil {
		return Package{}, fmt.Errorf("package %s %s, field Size: %w", c.name, c.version, err)
	}
	sum, err := digest.Parse(c.field("SHA256"))
	if err != nil {
		return Package{}, fmt.Errorf("package %s %s, field SHA256: %w", c.name, c.version, err)
	}
	return Package{
		Name:         c.name,
		Version:      c.version,
		Architecture: c.field("Architecture"),
		Pocket:       c.pocket,
		Filename:     c.field("Filename"),
		Size:         size.Bytes(length),
		SHA256:       sum,
	}, nil
}
