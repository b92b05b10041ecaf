package check

import (
	"strings"
)

// runtimePaths are places that a booted machine has although neither base nor image do.
type runtimePaths map[string]bool

// runtimePaths reads what the lines of tmpfiles.d in base and image create (tmpfiles.d(5)).
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

// has tells whether a path is created at boot. The kernel's file systems are always there.
func (r runtimePaths) has(name string) bool {
	for _, dir := range []string{"/dev/", "/proc/", "/sys/"} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return r[name]
}
