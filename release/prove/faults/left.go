package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience is how long what a killed run started may take to end: children see that their parent is gone.
const patience = 10 * time.Second

// stays returns what is still mounted, attached to a loop device or running of the runs in a directory.
func stays(dir string) error {
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := errors.Join(attached(dir), running(dir))
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

func attached(dir string) error {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return err
	}
	for _, file := range append(files, "/proc/self/mountinfo") {
		content, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(content), dir+"/") { // a device may be gone by now
			return fmt.Errorf("%s still has something of it", file)
		}
	}
	return nil
}

func running(dir string) error {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, file := range lines {
		content, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(content), dir+"/") {
			return fmt.Errorf("a process is left: %.200q", strings.ReplaceAll(string(content), "\x00", " "))
		}
	}
	return nil
}

// noScratch returns what is left in a cache's scratch directory.
func noScratch(cache string) error {
	left, err := filepath.Glob(filepath.Join(cache, "scratch/*"))
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%d entries are left in the scratch directory, such as %s", len(left), filepath.Base(left[0]))
	}
	return err
}

func filesBelow(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	return files, err
}

func sizeBelow(dir string) (n int64, err error) {
	files, err := filesBelow(dir)
	for _, file := range files {
		if info, err := os.Lstat(file); err == nil {
			n += info.Sys().(*syscall.Stat_t).Blocks * 512 // holes take no room
		}
	}
	return n, err
}
