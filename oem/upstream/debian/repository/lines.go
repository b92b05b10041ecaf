package repository

import "fmt"

// SourceLines returns sources.list(5) lines for the release, for programs that use apt. These need the Keyring, too.
func (r *Release) SourceLines() []string {
	options := ""
	if r.archive.AllowExpired {
		options = "[check-valid-until=no] "
	}
	var lines []string
	for _, pocket := range r.pockets {
		lines = append(lines, fmt.Sprintf("deb %s%s %s main", options, r.archive.address(pocket.name), pocket.name))
	}
	return lines
}

// Keyring returns the path of a file with the keys that may sign the release.
func (r *Release) Keyring() string { return r.keyring }
