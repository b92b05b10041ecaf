package repository

import "fmt"

// SourceLines returns sources.list(5) lines for the release, for programs that use apt.
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
