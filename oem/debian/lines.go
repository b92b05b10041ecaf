package debian

import (
	"fmt"
	"time"
)

// SourceLines returns the release as sources.list(5) has it, for programs that use apt.
func (r *Release) SourceLines() []string {
	options := "signed-by=" + r.archive.Keyring
	if r.archive.AllowExpired {
		options += " check-valid-until=no"
	}
	var lines []string
	for _, pocket := range r.pockets {
		lines = append(lines, fmt.Sprintf("deb [%s] %s %s main", options, r.archive.address(pocket.name), pocket.name))
	}
	return lines
}

// SuiteDate is the date of the suite itself, which security fixes between point releases do not change.
func (r *Release) SuiteDate() time.Time { return r.pockets[0].date }

// Version returns the installed version of a package, or "" when there is none.
func (i *Installed) Version(name string) string {
	for _, one := range i.byName[name] {
		return one.version
	}
	return ""
}
