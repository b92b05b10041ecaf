package activate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// SecondStage is the initramfs that lies in /usr, as a squashfs image, since Flatcar's alpha 4487.
const SecondStage = "lib/flatcar/bootengine.img"

// Tools are the packages of the tool root that Add runs.
var Tools = []string{"squashfs-tools"}

// Add writes at the path to the squashfs image from with files in it, which replace what it has at their paths.
// Everything else of it stays as it is, and so do its compressor and block size. Contents that are blobs are linked from where
// blob says they are. The directory dir is for scratch, in the blobs' file system.
func Add(ctx context.Context, tools *toolroot.Root, from, to, dir string, files []embed.File, blob func(digest.SHA256) string, epoch time.Time) error {
	// An image's description lists what is in it; the contents come behind that list (unsquashfs(1), -pf).
	dump, changed := filepath.Join(dir, "dump"), filepath.Join(dir, "changed")
	defer os.Remove(dump)
	defer os.Remove(changed)
	err := tools.Run(ctx, toolroot.Cmd{Program: "unsquashfs", Args: []string{"-pf", dump, from}, Read: []string{from}, Write: []string{dir}})
	if err != nil {
		return err
	}
	contents := filepath.Join(dir, "contents")
	if err := os.Mkdir(contents, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(contents)
	if err := addToDump(dump, changed, contents, files, blob, epoch); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	packing, err := packingOf(ctx, tools, from)
	if err != nil {
		return err
	}
	return tools.Run(ctx, toolroot.Cmd{
		Program: "mksquashfs",
		Args:    append([]string{"-", to, "-pf", changed, "-quiet", "-no-progress", "-mkfs-time", fmt.Sprint(epoch.Unix())}, packing...),
		Read:    []string{changed, contents}, Write: []string{filepath.Dir(to)},
	})
}

// Extract unpacks the squashfs image from to the directory to, which is not there yet, to be looked at: devices and owners,
// which cannot be made here, are left out without an error.
func Extract(ctx context.Context, tools *toolroot.Root, from, to string) error {
	return tools.Run(ctx, toolroot.Cmd{
		Program: "unsquashfs", Args: []string{"-quiet", "-no-progress", "-no-xattrs", "-no-exit-code", "-dest", to, from},
		Read: []string{from}, Write: []string{filepath.Dir(to)},
	})
}

// dataMark ends the list in a description.
const dataMark = "# START OF DATA - DO NOT MODIFY\n"

// addToDump copies a description with files added to its list. Their contents go to a directory.
func addToDump(from, to, contents string, files []embed.File, blob func(digest.SHA256) string, epoch time.Time) (err error) {
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
			return fmt.Errorf("its description has no data: %w", err)
		}
		if line == dataMark {
			break
		}
		name, rest, _ := strings.Cut(line, " ")
		if strings.HasPrefix(rest, "D ") {
			dirs[name] = true
		}
		if !slices.ContainsFunc(files, func(f embed.File) bool { return f.Path == name }) {
			fmt.Fprint(writer, line)
		}
	}
	for i, file := range files {
		for _, dir := range missingDirs(file.Path, dirs) {
			fmt.Fprintf(writer, "%s D %d 755 0 0\n", dir, epoch.Unix())
		}
		if file.Target != "" {
			fmt.Fprintf(writer, "%s S %d 777 0 0 %s\n", file.Path, epoch.Unix(), file.Target)
			continue
		}
		content := filepath.Join(contents, fmt.Sprint(i))
		if file.Blob != (digest.SHA256{}) {
			err = os.Link(blob(file.Blob), content)
		} else {
			err = os.WriteFile(content, file.Content, 0o600)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(writer, "%s F %d %o 0 0 cat %s\n", file.Path, epoch.Unix(), file.Mode, content)
	}
	fmt.Fprint(writer, "#\n"+dataMark)
	if _, err := io.Copy(writer, reader); err != nil {
		return err
	}
	return writer.Flush() // also tells of an earlier failure
}

// missingDirs returns the directories above a path that are not there yet, the topmost first, and notes that they will be.
func missingDirs(name string, there map[string]bool) []string {
	dir := path.Dir(name)
	if there[dir] {
		return nil
	}
	there[dir] = true
	return append(missingDirs(dir, there), dir)
}

// packingOf returns the arguments of mksquashfs that pack like an image.
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
