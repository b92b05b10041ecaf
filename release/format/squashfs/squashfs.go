// Package squashfs edits and unpacks squashfs images with squashfs-tools.
package squashfs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
)

// Tools are the packages of the tool root that are run.
var Tools = []string{"squashfs-tools"}

// File is a file to add to an image.
type File struct {
	Path    string      // relative to the image's root
	Mode    fs.FileMode // permissions
	Content []byte
	Blob    string // the path of a file with the content, to hard-link
	Target  string // of a symbolic link, which has neither mode nor content
}

// Editor edits images.
type Editor struct {
	Tools *toolroot.Root
	Dir   string // temporary files, in the blobs' file system
	Epoch time.Time
}

// Add copies the image from to the path to and adds files, which replace existing ones. Everything else, compressor and block
// size included, stays the same.
func (e Editor) Add(ctx context.Context, from, to string, files []File) error {
	// The pseudo file lists the content of the image, followed by the data (unsquashfs(1), -pf).
	dump, changed := filepath.Join(e.Dir, "dump"), filepath.Join(e.Dir, "changed")
	defer os.Remove(dump)
	defer os.Remove(changed)
	err := e.Tools.Run(ctx, toolroot.Cmd{Program: "unsquashfs", Args: []string{"-pf", dump, from}, Read: []string{from}, Write: []string{e.Dir}})
	if err != nil {
		return err
	}
	contents := filepath.Join(e.Dir, "contents")
	if err := os.Mkdir(contents, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(contents)
	if err := e.addToDump(dump, changed, contents, files); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	packing, err := packingOf(ctx, e.Tools, from)
	if err != nil {
		return err
	}
	return e.Tools.Run(ctx, toolroot.Cmd{
		Program: "mksquashfs",
		Args:    append([]string{"-", to, "-pf", changed, "-quiet", "-no-progress", "-mkfs-time", fmt.Sprint(e.Epoch.Unix())}, packing...),
		Read:    []string{changed, contents}, Write: []string{filepath.Dir(to)},
	})
}

// Extract unpacks the squashfs image from to the new directory to, for inspection: devices and owners, which cannot be created
// here, are left out.
func Extract(ctx context.Context, tools *toolroot.Root, from, to string) error {
	return tools.Run(ctx, toolroot.Cmd{
		Program: "unsquashfs", Args: UnpackArgs(from, to, "-no-xattrs", "-no-exit-code"),
		Read: []string{from}, Write: []string{filepath.Dir(to)},
	})
}

// ReadFile returns the content of a regular file in a squashfs image, if there is one at the path.
func ReadFile(ctx context.Context, tools *toolroot.Root, image, name string) (content []byte, there bool, err error) {
	var list, out bytes.Buffer
	err = tools.Run(ctx, toolroot.Cmd{Program: "unsquashfs", Args: []string{"-lln", "-quiet", image, name}, Read: []string{image}, Stdout: &list})
	if err != nil {
		return nil, false, err
	}
	if !regexp.MustCompile(`(?m)^-.* squashfs-root/` + regexp.QuoteMeta(name) + `$`).Match(list.Bytes()) {
		return nil, false, nil
	}
	err = tools.Run(ctx, toolroot.Cmd{Program: "unsquashfs", Args: []string{"-cat", image, name}, Read: []string{image}, Stdout: &out})
	return out.Bytes(), err == nil, err
}

// UnpackArgs returns the arguments of unsquashfs for unpacking an image to a new directory.
func UnpackArgs(from, to string, options ...string) []string {
	return slices.Concat([]string{"-quiet", "-no-progress"}, options, []string{"-dest", to, from})
}

// dataMark ends the list in a pseudo file.
const dataMark = "# START OF DATA - DO NOT MODIFY\n"

// addToDump copies a pseudo file with files added to its list. Their contents go to a directory.
func (e Editor) addToDump(from, to, contents string, files []File) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	reader, writer := bufio.NewReader(in), bufio.NewWriter(out)
	dirs := map[string]bool{".": true}
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return fmt.Errorf("its pseudo file has no data: %w", err)
		}
		if line == dataMark {
			break
		}
		name, rest, _ := strings.Cut(line, " ")
		if strings.HasPrefix(rest, "D ") {
			dirs[name] = true
		}
		if !slices.ContainsFunc(files, func(f File) bool { return f.Path == name }) {
			fmt.Fprint(writer, line)
		}
	}
	for i, file := range files {
		for _, dir := range missingDirs(file.Path, dirs) {
			fmt.Fprintf(writer, "%s D %d 755 0 0\n", dir, e.Epoch.Unix())
		}
		if file.Target != "" {
			fmt.Fprintf(writer, "%s S %d 777 0 0 %s\n", file.Path, e.Epoch.Unix(), file.Target)
			continue
		}
		content := filepath.Join(contents, fmt.Sprint(i))
		if file.Blob != "" {
			err = os.Link(file.Blob, content)
		} else {
			err = os.WriteFile(content, file.Content, 0o600)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(writer, "%s F %d %o 0 0 cat %s\n", file.Path, e.Epoch.Unix(), file.Mode, content)
	}
	fmt.Fprint(writer, "#\n"+dataMark)
	if _, err := io.Copy(writer, reader); err != nil {
		return err
	}
	return writer.Flush() // returns earlier errors too
}

// missingDirs returns the missing parent directories of a path, topmost first, and records them as existing.
func missingDirs(name string, there map[string]bool) []string {
	dir := path.Dir(name)
	if there[dir] {
		return nil
	}
	there[dir] = true
	return append(missingDirs(dir, there), dir)
}

// packingOf returns the arguments of mksquashfs for packing with an image's compressor and block size.
func packingOf(ctx context.Context, tools *toolroot.Root, image string) ([]string, error) {
	var out strings.Builder
	err := tools.Run(ctx, toolroot.Cmd{Program: "unsquashfs", Args: []string{"-s", image}, Read: []string{image}, Stdout: &out})
	if err != nil {
		return nil, err
	}
	var packing []string
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSpace(line)
		if compressor, found := strings.CutPrefix(line, "Compression "); found {
			packing = append(packing, "-comp", compressor)
		}
		if level, found := strings.CutPrefix(line, "compression-level "); found {
			packing = append(packing, "-Xcompression-level", level)
		}
		if size, found := strings.CutPrefix(line, "Block size "); found {
			packing = append(packing, "-b", size)
		}
	}
	return packing, nil
}
