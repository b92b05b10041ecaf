package check

import (
	"path"
	"strings"

	"github.com/flatcar/oem-sysext/oem/tree"
)

// runtimePaths are paths that exist on a booted machine, but neither in base nor image: whether each is copied, or is a link, with all that is
// below it.
type runtimePaths map[string]bool

// runtimePaths returns what tmpfiles.d(5) of base and image creates.
func (c *check) runtimePaths() (runtimePaths, error) {
	made := runtimePaths{}
	for _, file := range c.view.below("/usr/lib/tmpfiles.d", ".conf") {
		e, err := c.view.resolve(file.Path)
		if err != nil || e.Type != tree.File {
			continue // a link to /dev/null masks a file of the base
		}
		content, err := c.view.read(e)
		if err != nil {
			return nil, err
		}
		made.add(content)
	}
	return made, nil
}

// add reads the lines of one file.
func (r runtimePaths) add(content string) {
	for line := range strings.Lines(content) {
		words := strings.Fields(line)
		if len(words) >= 2 && strings.ContainsAny(words[0][:1], "fFwdDevqQpLcbC") {
			r[strings.Trim(words[1], `"`)] = words[0][0] == 'C' || words[0][0] == 'L'
		}
	}
}

// has tells whether a path is created at boot. The kernel's file systems always exist.
func (r runtimePaths) has(name string) bool {
	for _, dir := range []string{"/dev/", "/proc/", "/sys/"} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	_, made := r[name]
	return made
}

// hasBelow is has, also of what is in a tree that is copied, and of a directory in which something is created.
func (r runtimePaths) hasBelow(name string, dir bool) bool {
	name = path.Clean(name)
	for made, whole := range r {
		if made == name || whole && under(name, made) || dir && under(made, name) {
			return true
		}
	}
	return false
}
