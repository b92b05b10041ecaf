package archive

import (
	"archive/tar"
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

// checkGlobal accepts comments, such as the commit that git writes. Other defaults for all entries are applied by some readers and
// not by others.
func checkGlobal(header *tar.Header) error {
	for record := range header.PAXRecords {
		if record != "comment" {
			return fmt.Errorf("sets %q for all entries; wanted nothing but a comment", record)
		}
	}
	return nil
}

// checkHeader refuses headers that contradict themselves, and so are read in several ways.
func checkHeader(header *tar.Header) error {
	isFile := header.Typeflag == tar.TypeReg || header.Typeflag == tar.TypeGNUSparse
	if !isFile && header.Size != 0 {
		return fmt.Errorf("has %d bytes of content and is no file; wanted none", header.Size)
	}
	if !isFile && header.Typeflag != tar.TypeDir && strings.HasSuffix(header.Name, "/") {
		return errors.New("has a name that ends with a slash and is no directory")
	}
	if (isFile || header.Typeflag == tar.TypeDir) && header.Linkname != "" {
		return fmt.Errorf("links to %q and is no link", header.Linkname)
	}
	const anyKind, directory, file, link = 0o170000, 0o040000, 0o100000, 0o120000
	kinds := map[byte]int64{tar.TypeReg: file, tar.TypeGNUSparse: file, tar.TypeLink: file, tar.TypeDir: directory, tar.TypeSymlink: link}
	// Some writers put the type into the mode, too.
	if kind := header.Mode & anyKind; header.Mode&^(anyKind|0o7777) != 0 || kind != 0 && kinds[header.Typeflag] != kind {
		return fmt.Errorf("has mode %o, which is not that of its type %q", header.Mode, header.Typeflag)
	}
	return nil
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
