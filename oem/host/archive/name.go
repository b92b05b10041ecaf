package archive

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// cleanName returns an entry's name without the leading "/" or "./" that packages use, such as "usr/bin/x".
// The root itself is ".".
func cleanName(name string) (string, error) {
	if err := checkText(name); err != nil {
		return "", err
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "..":
			return "", errors.New(`the name has ".."`)
		case len(part) > MaxPart:
			return "", fmt.Errorf("a part of the name has %d bytes; wanted at most %d", len(part), MaxPart)
		}
	}
	return path.Clean(strings.TrimLeft(name, "/")), nil
}

// checkText refuses text that breaks listings, scripts or terminals, or is too long for a file system.
func checkText(text string) error {
	switch {
	case text == "":
		return errors.New("empty name or target")
	case len(text) > MaxName:
		return fmt.Errorf("name or target has %d bytes; wanted at most %d", len(text), MaxName)
	case !utf8.ValidString(text):
		return errors.New("name or target is not UTF-8")
	case strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Errorf("name or target %q has control characters", text)
	}
	return nil
}

// checkSymlink refuses relative targets that climb above the root. On a running system they would stop at "/",
// so no package needs them. Absolute targets are checked where the tree is used.
func checkSymlink(name, target string) error {
	if err := checkText(target); err != nil {
		return err
	}
	if path.IsAbs(target) {
		return nil
	}
	depth := strings.Count(name, "/")
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			depth--
		default:
			depth++
		}
		if depth < 0 {
			return fmt.Errorf("is a link to %q, which leads out of the root", target)
		}
	}
	return nil
}
