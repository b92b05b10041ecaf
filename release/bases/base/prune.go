package base

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// prune removes what matches the patterns. One that matches nothing is a mistake in the definition.
func prune(root string, patterns []string) error {
	for _, pattern := range patterns {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return fmt.Errorf("prune %s: %w", pattern, err)
		}
		if len(paths) == 0 {
			return fmt.Errorf("prune %s: nothing matches; remove the line", pattern)
		}
		for _, path := range paths {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropUnrunnable removes scripts whose interpreter was left out.
func dropUnrunnable(root string) error {
	for _, dir := range []string{"usr/bin", "usr/sbin"} {
		paths, err := filepath.Glob(filepath.Join(root, dir, "*"))
		if err != nil {
			return err
		}
		for _, path := range paths {
			interpreter, err := interpreterOf(path)
			if err != nil {
				return err
			}
			if interpreter == "" {
				continue
			}
			_, err = os.Stat(filepath.Join(root, interpreter))
			if errors.Is(err, fs.ErrNotExist) {
				err = os.Remove(path)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// interpreterOf returns the program named in a script's first line, and nothing for other files.
func interpreterOf(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 256) // the kernel reads no more either
	n, err := f.Read(head)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	line, _, _ := strings.Cut(string(head[:n]), "\n")
	words := strings.Fields(strings.TrimPrefix(line, "#!"))
	if !strings.HasPrefix(line, "#!") || len(words) == 0 {
		return "", nil
	}
	return words[0], nil
}

// dropDangling removes links to what was removed. Links to what only a running system has stay.
func dropDangling(root string) error {
	for _, dir := range []string{"etc", "usr"} { // links into /etc/alternatives after the alternatives
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.Type() != fs.ModeSymlink {
				return err
			}
			dangling, err := isDangling(root, path)
			if err != nil || !dangling {
				return err
			}
			return os.Remove(path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// isDangling tells whether a link points to nothing below /usr or /etc. It follows one step only.
func isDangling(root, link string) (bool, error) {
	target, err := os.Readlink(link)
	if err != nil {
		return false, err
	}
	if filepath.IsAbs(target) {
		target = filepath.Join(root, target)
	} else {
		target = filepath.Join(filepath.Dir(link), target)
	}
	below, err := filepath.Rel(root, target)
	if err != nil || !strings.HasPrefix(below, "etc/") && !strings.HasPrefix(below, "usr/") {
		return false, err
	}
	_, err = os.Lstat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}
