// Package purl returns the package URLs (github.com/package-url/purl-spec) of inputs, by which scanners look up
// known vulnerabilities.
package purl

import (
	"net/url"
	"path"
	"strings"

	"github.com/flatcar/oem-sysext/oem/source/input"
)

// Of returns the package URL of an input for an architecture, or nothing for files and downloads without a registry.
func Of(i input.Input, arch string) string {
	switch i.Kind {
	case "deb":
		return "pkg:deb/debian/" + escape(i.Name) + "@" + escape(i.Version) + "?arch=" + arch
	case "go":
		dir, name := path.Split(i.Name)
		return "pkg:golang/" + strings.ToLower(dir) + escape(strings.ToLower(name)) + "@" + escape(i.Version)
	case "binpkg":
		category, name := path.Split(i.Name)
		return "pkg:ebuild/" + category + escape(name) + "@" + escape(i.Version)
	}
	return ""
}

// escape encodes characters that are not allowed in a name or a version, and "+" and "@", which url.PathEscape leaves but which
// would be ambiguous.
func escape(text string) string {
	return strings.NewReplacer("+", "%2B", "@", "%40").Replace(url.PathEscape(text))
}
