package profiles

import (
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
)

// Extension is one extension beside the OEM tools, with its source and the machines that get it. Exactly one source is set.
type Extension struct {
	Line        strictyaml.Line
	Name        strictyaml.Text `yaml:"name,required"` // enables it; also the name in its extension-release
	Version     strictyaml.Text `yaml:"version"`       // distinguishes several of one name
	Default     bool            `yaml:"default"`       // of several versions, the one for machines that name none
	File        strictyaml.Text `yaml:"file"`          // an image; a path relative to the profile, or an absolute one
	Directory   strictyaml.Text `yaml:"directory"`     // a tree with usr in it; a path as in file
	URL         *URL            `yaml:"url"`           // an image at an address
	GitHub      *GitHub         `yaml:"github"`        // an image among the assets of a GitHub release
	Recipe      strictyaml.Text `yaml:"recipe"`        // the name of a recipe in recipes/
	Enable      *Enable         `yaml:"enable"`        // on which machines it is active
	Flatten     bool            `yaml:"flatten"`       // instead of enable: its files become part of /usr
	Repack      bool            `yaml:"repack"`        // pack its files anew, as planned; otherwise an image is embedded byte for byte
	Certificate strictyaml.Text `yaml:"certificate"`   // a PEM file, relative to the profile, by which machines verify a signed image
	Rebuild     *Rebuild        `yaml:"rebuild"`       // how to rebuild it when it is for another OS release
}

// URL is the address of an image. A digest or a signature is required.
type URL struct {
	Line      strictyaml.Line
	Address   strictyaml.Text             `yaml:"address,required"` // {version} and {arch} are replaced
	ArchNames map[string]string           `yaml:"arch_names"`       // upstream's names of amd64 and arm64
	SHA256    map[arch.Arch]digest.SHA256 `yaml:"sha256"`
	Signature *recipe.Signature           `yaml:"signature"`
}

// GitHub is an asset of a GitHub release that also has an asset with the sums.
type GitHub struct {
	Line       strictyaml.Line
	Repository strictyaml.Text             `yaml:"repository,required"` // owner/name
	Tag        string                      `yaml:"tag,required"`        // {version} is replaced
	Asset      string                      `yaml:"asset"`               // NAME-{version}-{arch}.raw by default
	ArchNames  map[string]string           `yaml:"arch_names"`          // x86-64 and arm64 by default, as in Flatcar's sysext bakery
	Sums       string                      `yaml:"sums"`                // the asset with the sums, in sha256sum's format; SHA256SUMS by default
	SHA256     map[arch.Arch]digest.SHA256 `yaml:"sha256"`              // of the image; replaces the asset with the sums
	Signature  *recipe.Signature           `yaml:"signature"`           // of the sums
}

// Enable chooses the machines on which an extension is active: always, by-name, or platforms with a list of ids.
type Enable struct {
	How       How
	Platforms []strictyaml.Text `yaml:"platforms"`
}

// How is when an extension is active.
type How string

// The values of How.
const (
	Always      How = "always"    // unless the user disables it
	ByName      How = "by-name"   // if the user enables it
	OnPlatforms How = "platforms" // on machines of some clouds, unless the user disables it
)

// UnmarshalText reads always and by-name.
func (e *Enable) UnmarshalText(text []byte) error {
	e.How = How(text)
	if e.How != Always && e.How != ByName {
		return fmt.Errorf("%q; wanted %s, %s, or platforms with a list of ids", text, Always, ByName)
	}
	return nil
}

// JSONSchema describes both forms.
func (Enable) JSONSchema() map[string]any {
	return map[string]any{
		"type": []string{"string", "object"}, "pattern": "^(always|by-name)$",
		"properties":           map[string]any{"platforms": map[string]any{"type": "array", "items": map[string]any{"type": "string"}}},
		"additionalProperties": false, "required": []string{"platforms"},
	}
}

// IDs returns the ids of the listed platforms.
func (e *Enable) IDs() []string {
	var ids []string
	for _, id := range e.Platforms {
		ids = append(ids, id.Value)
	}
	return ids
}

// Rebuild says how to rebuild an extension that is for another OS release.
type Rebuild struct {
	Recipe  strictyaml.Text `yaml:"recipe"`  // to build instead
	Command string          `yaml:"command"` // to run by hand; the error shows it
}

// AddressFor returns the address of the image for an architecture.
func (x *Extension) AddressFor(a arch.Arch) string {
	return recipe.Fill(x.URL.Address.Value, x.Version.Value, x.URL.ArchNames, a)
}

// TagAndAssets returns the tag of the GitHub release and the names of the image and of the sums.
func (x *Extension) TagAndAssets(a arch.Arch) (tag, asset, sums string) {
	names := x.GitHub.ArchNames
	if len(names) == 0 {
		names = map[string]string{string(a): a.Systemd()} // as Flatcar's sysext bakery calls it
	}
	fill := func(text, otherwise string) string {
		if text == "" {
			text = otherwise
		}
		return recipe.Fill(text, x.Version.Value, names, a)
	}
	return fill(x.GitHub.Tag, ""), fill(x.GitHub.Asset, x.Name.Value+"-{version}-{arch}.raw"), fill(x.GitHub.Sums, "SHA256SUMS")
}

// Path resolves a path in the profile.
func (p *Profile) Path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(p.Dir, name)
}

// Where returns file, line and name of an extension, for messages.
func (p *Profile) Where(x *Extension) string {
	name := x.Name.Value
	if x.Version.Value != "" {
		name += " " + x.Version.Value
	}
	return fmt.Sprintf("%s:%d: extension %s", p.File, x.Line, name)
}

// Nothing is the value of a missing key.
var Nothing strictyaml.Text

// reserved is the prefix of OEM images.
const reserved = "oem-"

func (c *checker) extensions() {
	byName := map[string][]*Extension{}
	for i := range c.profile.Extensions {
		x := &c.profile.Extensions[i]
		c.names(x)
		c.source(x)
		c.use(x)
		byName[x.Name.Value] = append(byName[x.Name.Value], x)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		c.versions(byName[name])
	}
}

func (c *checker) names(x *Extension) {
	if !validName.MatchString(x.Name.Value) || strings.HasPrefix(x.Name.Value, reserved) {
		c.add(x.Name.Line, "name %q; wanted letters, digits, dots, plus signs and hyphens, not beginning with %s", x.Name, reserved)
	}
	if x.Version.Value != "" && !validName.MatchString(x.Version.Value) {
		c.add(x.Version.Line, "version %q; wanted letters, digits, dots, plus signs and hyphens", x.Version)
	}
}

func (c *checker) source(x *Extension) {
	kinds := 0
	if x.File.Value != "" {
		kinds++
		c.beside(x.File, false)
	}
	if x.Directory.Value != "" {
		kinds++
		c.beside(x.Directory, true)
	}
	if x.URL != nil {
		kinds++
		if len(x.URL.SHA256) == 0 && x.URL.Signature == nil {
			c.add(x.URL.Line, "no digest or signature for the image at the address; wanted sha256 or signature")
		}
		c.signature(x.URL.Signature)
	}
	if x.GitHub != nil {
		kinds++
		if strings.Count(x.GitHub.Repository.Value, "/") != 1 {
			c.add(x.GitHub.Repository.Line, "repository %q; wanted owner/name", x.GitHub.Repository)
		}
		c.signature(x.GitHub.Signature)
	}
	if x.Recipe.Value != "" {
		kinds++
		c.recipe(x.Recipe)
	}
	if kinds != 1 {
		c.add(x.Line, "%d sources; wanted one of file, directory, url, github, recipe", kinds)
	}
	if x.Repack && x.Certificate.Value != "" {
		c.add(x.Certificate.Line, "certificate with repack: true, which drops the signature; wanted one of repack and certificate")
	}
	if x.Certificate.Value != "" && c.beside(x.Certificate, false) {
		content, err := os.ReadFile(c.profile.Path(x.Certificate.Value))
		if block, _ := pem.Decode(content); err != nil || block == nil || block.Type != "CERTIFICATE" {
			c.add(x.Certificate.Line, "%q contains no certificate; wanted a PEM file with one", x.Certificate)
		}
	}
	if x.Rebuild != nil && x.Rebuild.Recipe.Value != "" {
		c.recipe(x.Rebuild.Recipe)
	}
}

// beside checks that a path in the profile exists.
func (c *checker) beside(name strictyaml.Text, directory bool) bool {
	info, err := os.Stat(c.profile.Path(name.Value))
	ofCheckout := c.profile.File == path.Join(Dir, c.profile.Name+".yaml")
	if relative := path.Clean(name.Value); ofCheckout && fs.ValidPath(relative) {
		info, err = fs.Stat(rooted.Files(c.profile.Dir), relative) // follows no link: who wrote it need not own the host
	}
	if err == nil && info.IsDir() == directory && (directory || info.Mode().IsRegular()) {
		return true
	}
	wanted := "a file"
	if directory {
		wanted = "a directory"
	}
	c.add(name.Line, "%q not found; wanted %s beside %s, or an absolute path", name, wanted, c.profile.File)
	return false
}

func (c *checker) recipe(name strictyaml.Text) {
	if !slices.Contains(c.known.Recipes, name.Value) {
		c.add(name.Line, "no recipe %q; wanted a name in recipes/", name)
	}
}

func (c *checker) signature(s *recipe.Signature) {
	if s == nil {
		return
	}
	if (s.Minisign == "") == (s.OpenPGP.Value == "") {
		c.add(s.Line, "signature with no key or two keys; wanted one of minisign and openpgp")
	}
	if s.OpenPGP.Value != "" {
		c.beside(s.OpenPGP, false)
	}
}

func (c *checker) use(x *Extension) {
	switch {
	case (x.Enable == nil) == !x.Flatten:
		c.add(x.Line, "wanted one of enable and flatten: true")
	case x.Enable == nil:
	case x.Enable.How == "" && len(x.Enable.Platforms) == 0:
		c.add(x.Line, "enable: platforms is empty; wanted at least one")
	case x.Enable.How == "":
		x.Enable.How = OnPlatforms
		for _, id := range x.Enable.Platforms {
			c.platform(id, "enable")
		}
	}
	if x.Flatten && x.Version.Value == "" && x.Default {
		c.add(x.Line, "default: true has no effect on a flattened extension; remove it")
	}
}

// versions checks the extensions of one name.
func (c *checker) versions(all []*Extension) {
	defaults, seen := 0, map[string]bool{}
	for _, x := range all {
		if x.Default {
			defaults++
		}
		if len(all) > 1 && (x.Version.Value == "" || seen[x.Version.Value]) {
			c.add(x.Line, "%s is listed %d times; wanted a different version for each", x.Name, len(all))
		}
		seen[x.Version.Value] = true
		if len(all) > 1 && x.Flatten {
			c.add(x.Line, "%s has several versions, so none can be flattened; wanted a single version or no flatten", x.Name)
		}
	}
	if len(all) > 1 && defaults != 1 {
		c.add(all[0].Line, "%d of the versions of %s are the default; wanted default: true for one", defaults, all[0].Name)
	}
}
