//go:build nightly

package testreaders

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/plan/compose/extension"
)

// imageTree has what an extension has, all of root's.
const imageTree = `mkdir -p tree/usr/lib/d; cd tree; printf 'ID=_any\n' >usr/lib/a; seq 3000 >usr/lib/d/b; chmod 755 usr/lib/d/b; ln -s b usr/lib/d/link; ln usr/lib/a usr/lib/hard; : >usr/lib/empty; find . -exec touch -h -d @1700000000 {} +; cd ..; `

// squashfsFormat is judged by rdsquashfs, which shares no code with unsquashfs, by which we read images.
func squashfsFormat(t *testing.T) format {
	sound := []input{
		{"gzip", script(t, imageTree+`mksquashfs tree out -quiet -no-progress -all-root -noappend -comp gzip`)},
		{"zstd", script(t, imageTree+`mksquashfs tree out -quiet -no-progress -all-root -noappend -comp zstd`)},
		{"plain", script(t, imageTree+`mksquashfs tree out -quiet -no-progress -all-root -noappend -noI -noD -noF -noX -nopad`)},
	}
	// fs/squashfs/squashfs_fs.h, struct squashfs_super_block
	super := []field{{"magic", 0, 4}, {"inodes", 4, 4}, {"time", 8, 4}, {"block size", 12, 4}, {"fragments", 16, 4}, {"compressor", 20, 2}, {"block log", 22, 2}, {"flags", 24, 2}, {"ids", 26, 2}, {"major", 28, 2}, {"minor", 30, 2}, {"root", 32, 8}, {"length", 40, 8}, {"ids at", 48, 8}, {"xattrs at", 56, 8}, {"inodes at", 64, 8}, {"directories at", 72, 8}, {"fragments at", 80, 8}, {"exports at", 88, 8}}
	return format{
		sound: sound,
		mutants: func(longer int) (all []input) {
			for _, in := range sound {
				all = slices.Concat(all, numbers(in, nil, super...), followed(in), flipped(in, 80*longer), parts(in, 96))
			}
			return all
		},
		ours: ourImage(t),
		theirs: []tool{{
			name: "rdsquashfs", script: `rdsquashfs -q -T -C -O -u / -p . "$1"`, read: listed(withoutTime),
		}},
	}
}

// withoutTime makes lines of files comparable with ours.
func withoutTime(line string) (string, bool) {
	line, _, _ = strings.Cut(line, " = ")
	return without(3)(line)
}

// ourImage lets the reader of other people's extensions read an image.
func ourImage(t *testing.T) func(ctx context.Context, file, dir string) ([]string, error) {
	t.Helper()
	tools := toolroottest.Judges(t)
	return func(ctx context.Context, file, dir string) ([]string, error) {
		reader := &extension.Reader{Tools: tools, Scratch: filepath.Join(dir, "scratch"), Arch: arch.AMD64}
		err := os.Mkdir(reader.Scratch, 0o755)
		if err != nil {
			return nil, err
		}
		if reader.Blobs, err = store.OpenBlobs(filepath.Join(dir, "blobs"), reader.Scratch); err != nil {
			return nil, err
		}
		if reader.Results, err = store.OpenResults(filepath.Join(dir, "results"), reader.Blobs, nil); err != nil {
			return nil, err
		}
		in, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer in.Close()
		blob, _, err := reader.Blobs.Add(in)
		if err != nil {
			return nil, err
		}
		image, err := reader.Read(ctx, blob, nil)
		if err != nil {
			return nil, err
		}
		var all []string
		for _, e := range image.Tree {
			all = append(all, imageLine(e))
		}
		slices.Sort(all)
		return all, nil
	}
}

// imageLine writes an entry as listing does, without its time.
func imageLine(e tree.Entry) string {
	mode := os.FileMode(e.Mode & 0o777)
	for bit, flag := range map[uint32]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if e.Mode&bit != 0 {
			mode |= flag
		}
	}
	name := strings.TrimPrefix(e.Path, "/")
	switch e.Type {
	case tree.Dir:
		return fmt.Sprintf("%q %v %d:%d", name, mode|os.ModeDir, e.UID, e.GID)
	case tree.Symlink:
		return fmt.Sprintf("%q %v %d:%d -> %q", name, mode|os.ModeSymlink, e.UID, e.GID, e.Target)
	default:
		return fmt.Sprintf("%q %v %d:%d %d %.12s", name, mode, e.UID, e.GID, e.Size, e.SHA256)
	}
}
