package recipe

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
)

// beside returns the path in fsys of a file beside the definition.
func (c *checker) beside(name string) string { return path.Join(path.Dir(c.recipe.File), name) }

// directory checks a directory beside the definition that is copied into the image.
func (c *checker) directory(dir strictyaml.Text, to string) {
	name := strings.TrimSuffix(dir.Value, "/")
	if !fs.ValidPath(name) || name == "." {
		c.add(dir.Line, "directory %q; wanted one beside %s", dir, FileName)
		return
	}
	info, err := fs.Stat(c.fsys, c.beside(name))
	if err != nil || !info.IsDir() {
		c.add(dir.Line, "directory %q is none; wanted one beside %s%s", dir, FileName, because(err))
		return
	}
	c.content(dir.Line, name, func(inside, target string) error {
		if !path.IsAbs(target) && rooted.LeadsOut(path.Join(to, inside), target) {
			return fmt.Errorf("is a link to %q, which leads out of the image; wanted a path in the image", target)
		}
		return nil
	})
}

// scriptDir checks the directory that the script sees.
func (c *checker) scriptDir(s *Script) {
	c.content(s.Run.Line, s.Dir(), func(inside, target string) error {
		if path.IsAbs(target) || rooted.LeadsOut(inside, target) {
			return fmt.Errorf("is a link to %q, which leads out of the script's directory; wanted a copy of the file", target)
		}
		return nil
	})
}

// because returns the cause of an error, unless it is that there is no such file, which is said already.
func because(err error) string {
	var cause *fs.PathError
	if errors.As(err, &cause) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf(" (%s %v)", cause.Path, cause.Err)
	}
	return ""
}

// content checks everything in a directory beside the definition: names, kinds of files, targets of links by checkLink,
// and that no file is also one outside of the directory.
func (c *checker) content(line strictyaml.Line, dir string, checkLink func(inside, target string) error) {
	shared := map[file]*linked{}
	root := c.beside(dir)
	err := fs.WalkDir(c.fsys, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := foreign.Check(name); err != nil {
			c.add(line, "the name %v; rename the file", err)
			return nil
		}
		switch d.Type() {
		case fs.ModeDir:
		case 0:
			info, err := d.Info()
			if err != nil {
				return err
			}
			windows, err := c.isWindowsScript(name)
			if err != nil {
				return err
			}
			if windows {
				c.add(line, "%s: has CRLF line ends, so that Linux does not find its interpreter; write it with LF (git add --renormalize)", name)
			}
			if stat, is := info.Sys().(*syscall.Stat_t); is && stat.Nlink > 1 {
				id := file{stat.Dev, stat.Ino}
				if shared[id] == nil {
					shared[id] = &linked{name, int(stat.Nlink)}
				}
				shared[id].elsewhere--
			}
		case fs.ModeSymlink:
			target, err := fs.ReadLink(c.fsys, name)
			if err != nil {
				return err
			}
			if err = foreign.Check(target); err == nil {
				err = checkLink(strings.TrimPrefix(name, root+"/"), target)
			}
			if err != nil {
				c.add(line, "%s: %v", name, err)
			}
		default:
			c.add(line, "%s: is a special file (%v); wanted files, directories and symbolic links", name, d.Type())
		}
		return nil
	})
	if err != nil {
		c.add(line, "%v", err)
	}
	for _, l := range shared {
		if l.elsewhere > 0 {
			c.add(line, "%s: is a hard link to a file outside of %s; wanted a copy of it", l.name, root)
		}
	}
}

// isWindowsScript tells whether the first line of a script ends as lines do on Windows.
func (c *checker) isWindowsScript(name string) (bool, error) {
	f, err := c.fsys.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, 256) // as much as the kernel reads
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	line, _, _ := strings.Cut(string(head[:n]), "\n")
	return strings.HasPrefix(line, "#!") && strings.HasSuffix(line, "\r"), nil
}

// file identifies a file by device and inode.
type file [2]uint64

// linked is a file with several names, and how many of them were not seen.
type linked struct {
	name      string
	elsewhere int
}
