package archive

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
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
	}
	if err := foreign.Check(text); err != nil {
		return fmt.Errorf("name or target %w", err)
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
	if rooted.LeadsOut(name, target) {
		return fmt.Errorf("is a link to %q, which leads out of the root", target)
	}
	return nil
}
