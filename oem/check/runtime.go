package check

import (
	"strings"
)

// runtimePaths are paths that exist on a booted machine, but neither in base nor image.
type runtimePaths map[string]bool

// runtimePaths returns what tmpfiles.d(5) of base and image creates.
func (c *check) runtimePaths() (runtimePaths, error) {
	made := runtimePaths{}
	for _, file := range c.view.below("/usr/lib/tmpfiles.d", ".conf") {
		e, err := c.view.resolve(file.Path)
		if err != nil {
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
			r[strings.Trim(words[1], `"`)] = true
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
	return r[name]
}
