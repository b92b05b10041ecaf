// Package purl spells what releases are made from as package URLs (github.com/package-url/purl-spec), by which scanners look
// for known flaws, and knows which kinds of inputs have one.
package purl

import (
	"net/url"
	"path"
	"strings"

	"github.com/flatcar/oem-sysext/oem/source/input"
)

// Of returns the package URL of an input for an architecture, or nothing for files and downloads that no registry knows.
func Of(i input.Input, arch string) string {
	switch i.Kind {
	case "deb":
		return "pkg:deb/debian/" + escape(i.Name) + "@" + escape(i.Version) + "?arch=" + arch
	case "go":
		dir, name := path.Split(i.Name)
		return "pkg:golang/" + strings.ToLower(dir) + escape(strings.ToLower(name)) + "@" + escape(i.Version)
	}
	return ""
}

// escape encodes what is not allowed in a name or a version. Of what url.PathEscape leaves, "+" and "@" would be ambiguous.
func escape(text string) string {
	return strings.NewReplacer("+", "%2B", "@", "%40").Replace(url.PathEscape(text))
}
