package check

import (
	"errors"
	"path"
	"slices"
	"strings"
)

// unitFiles checks what systemd itself needs to start the programs of a unit (systemd.exec(5)): files that it reads, and directories that it
// enters or mounts. Without these no program is started.
func (c *check) unitFiles(name, content string, made runtimePaths) {
	own := ownDirs(content)
	settings(content, func(key, value string) {
		needed, known := neededPaths[key]
		if !known {
			return
		}
		for _, word := range needed.words(value) {
			word = strings.TrimPrefix(word, "+")
			if !path.IsAbs(word) || strings.Contains(word, "%") || c.view.exists(word) {
				continue
			}
			if !needed.dir && !under(word, "/etc", "/usr", "/opt") || under(word, atRunTime...) || made.hasBelow(word, needed.dir) || own.hasBelow(word, needed.dir) {
				continue
			}
			c.addRuntime(name, "has %s=%s, which neither the base nor the image has; %s", key, word, remedy(word, needed.dir))
		}
	})
}

// arguments checks that what a unit's program is told to read is there. Programs that have no word for it are told by an argument, such as
// their configuration, and end without it.
func (c *check) arguments(name, content string, made runtimePaths) {
	conditions := map[string]bool{}
	settings(content, func(key, value string) {
		if strings.HasPrefix(key, "Condition") {
			conditions[strings.TrimLeft(value, "|!")] = true
		}
	})
	own := ownDirs(content)
	settings(content, func(key, value string) {
		words := strings.Fields(value)
		if key != "ExecStart" || len(words) == 0 || strings.HasPrefix(value, "-") || slices.Contains(shells, path.Base(words[0])) {
			return
		}
		for _, word := range words[1:] {
			if _, after, is := strings.Cut(word, "="); is {
				word = after
			}
			word = strings.Trim(word, `"'`)
			if !under(word, "/etc", "/usr") || under(word, "/usr/local") || strings.ContainsAny(word, "%$*,:") || conditions[word] {
				continue
			}
			if !c.view.exists(word) && !made.hasBelow(word, true) && !own.hasBelow(word, true) {
				c.addRuntime(name, "starts its program with %s, which neither the base nor the image has; %s", word, remedy(word, false))
			}
		}
	})
}

// shells read commands, of which only they know what they need.
var shells = []string{"sh", "bash", "dash", "env"}

// remedy is what to do about a path that is missing.
func remedy(name string, dir bool) string {
	switch {
	case dir:
		return "make it by a line d " + name + " in a file in /usr/lib/tmpfiles.d, or by StateDirectory="
	case under(name, "/etc"):
		return "files in /etc are not in an image: put it below /usr/share, and copy it by a line C " + name + " in a file in /usr/lib/tmpfiles.d; or make it optional by a drop-in"
	}
	return "add it, or make it optional by a drop-in"
}

// need is a setting with paths that must be there.
type need struct {
	words func(value string) []string
	dir   bool // directories; they may be made when the machine starts
}

// neededPaths are the settings. A dash before a path makes it optional.
var neededPaths = map[string]need{
	"EnvironmentFile":  {required, false},
	"LoadCredential":   {credential, false},
	"RootImage":        {required, false},
	"WorkingDirectory": {required, true},
	"RootDirectory":    {required, true},
	"BindPaths":        {sources, true}, "BindReadOnlyPaths": {sources, true},
	"ReadWritePaths": {required, true}, "ReadOnlyPaths": {required, true}, "InaccessiblePaths": {required, true}, "ExecPaths": {required, true},
}

func required(value string) []string {
	return slices.DeleteFunc(strings.Fields(value), func(word string) bool { return strings.HasPrefix(word, "-") })
}

func credential(value string) []string {
	_, from, _ := strings.Cut(value, ":")
	return required(from)
}

func sources(value string) (words []string) {
	for _, word := range required(value) {
		from, _, _ := strings.Cut(word, ":")
		words = append(words, from)
	}
	return words
}

// atRunTime are directories whose content the kernel, other units or the administrator make.
var atRunTime = []string{"/boot", "/dev", "/home", "/media", "/mnt", "/oem", "/proc", "/root", "/run", "/srv", "/sys", "/tmp", "/var/tmp"}

// standard are directories of every machine (file-hierarchy(7)).
var standard = []string{"/", "/opt", "/var", "/var/cache", "/var/lib", "/var/log", "/var/spool"}

func under(name string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") })
}

// exists tells whether a path is in the view, or on every machine.
func (v *view) exists(name string) bool {
	if slices.Contains(standard, path.Clean(name)) {
		return true
	}
	_, err := v.resolve(name)
	return err == nil
}

// ownDirs are the directories that systemd makes for a unit.
func ownDirs(content string) runtimePaths {
	roots := map[string]string{
		"StateDirectory": "/var/lib", "CacheDirectory": "/var/cache", "LogsDirectory": "/var/log", "RuntimeDirectory": "/run", "ConfigurationDirectory": "/etc",
	}
	made := runtimePaths{}
	settings(content, func(key, value string) {
		for _, word := range strings.Fields(value) {
			if root := roots[key]; root != "" {
				name, _, _ := strings.Cut(word, ":")
				made[path.Join(root, name)] = false
			}
		}
	})
	return made
}

// unitDir is where units lie.
const unitDir = "/usr/lib/systemd/system"

// upheld checks that a drop-in for a target is for one that exists, and that units that are upheld do.
func (c *check) upheld(name, content string) {
	unit, isDropIn := strings.CutSuffix(path.Dir(name), ".d")
	if isDropIn && path.Dir(unit) == unitDir && path.Ext(unit) == ".target" && !c.hasUnit(path.Base(unit)) {
		c.add(name, "is a drop-in for %s, which neither the base nor the image has; correct the name", path.Base(unit))
	}
	settings(content, func(key, value string) {
		for _, upheld := range strings.Fields(value) {
			if key == "Upholds" && !strings.Contains(upheld, "%") && !c.hasUnit(upheld) {
				c.add(name, "has Upholds=%s, which neither the base nor the image has; correct the name below units.upholds, or add the unit", upheld)
			}
		}
	})
}

// hasUnit tells whether there is a unit, or the template that it is an instance of.
func (c *check) hasUnit(name string) bool {
	before, after, isInstance := strings.Cut(name, "@")
	if isInstance {
		name = before + "@" + path.Ext(after)
	}
	_, err := c.view.resolve(path.Join(unitDir, name))
	return err == nil || errors.Is(err, errRuntime)
}
