// Package extensiontest makes extension images for tests, with the tools that everybody has and without the project's own writers,
// so that they may hold what those refuse.
package extensiontest

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/format/gpt"
)

// Entry is a file (its content), a link (Target), or what Type says.
type Entry struct {
	Path    string // without a slash at the beginning
	Type    byte   // of package tar; a file or a link when zero
	Mode    int64  // 0644 or, of directories, 0755 when zero
	UID     int
	Content string
	Target  string
	Xattrs  map[string]string
}

// The file systems.
const (
	SquashFS   = "squashfs"
	EROFS      = "erofs"
	Compressed = "erofs-lz4hc"    // an erofs
	Plain      = "squashfs-plain" // a squashfs whose names are in it as they are
)

// Release is what makes entries an extension of a name, for any release of the OS with the level 1.0.
func Release(name string) Entry {
	return Entry{Path: "usr/lib/extension-release.d/extension-release." + name, Content: "ID=flatcar\nSYSEXT_LEVEL=1.0\n"}
}

// Image makes an image at a path in a directory that the test may write to.
func Image(t testing.TB, tools *toolroot.Root, filesystem, path string, entries ...Entry) {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, e := range entries {
		h := &tar.Header{
			Typeflag: e.Type, Name: e.Path, Mode: e.Mode, Uid: e.UID, Linkname: e.Target, Size: int64(len(e.Content)),
			ModTime: time.Unix(1e9, 0), PAXRecords: map[string]string{}, Format: tar.FormatPAX,
		}
		switch {
		case e.Type == 0 && e.Target != "":
			h.Typeflag = tar.TypeSymlink
		case e.Type == 0:
			h.Typeflag = tar.TypeReg
		}
		if e.Mode == 0 {
			h.Mode = 0o644
			if e.Type == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		for key, value := range e.Xattrs {
			h.PAXRecords["SCHILY.xattr."+key] = value
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.Content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c := toolroot.Cmd{
		Program: "sqfstar", Args: []string{"-quiet", "-no-progress", "-default-mode", "0755", "-root-mode", "0755", "-default-uid", "0", "-default-gid", "0", path},
		Stdin: &archive, Write: []string{filepath.Dir(path)},
	}
	switch filesystem {
	case Plain:
		c.Args = slices.Insert(c.Args, 0, "-noI")
	case EROFS:
		c.Program, c.Args = "mkfs.erofs", []string{"--quiet", "--tar=f", path}
	case Compressed:
		c.Program, c.Args = "mkfs.erofs", []string{"--quiet", "--tar=f", "-zlz4hc", path}
	}
	if err := tools.Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// FirstSector is where the root partition of a disk begins that Disk made.
const FirstSector = 2048

// Disk puts an image into the root partition of a disk, as an unsigned DDI. A second partition is for hashes.
func Disk(t testing.TB, image, path string) {
	t.Helper()
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	last := FirstSector + uint64(len(content)+gpt.SectorSize-1)/gpt.SectorSize - 1
	partitions := []gpt.Partition{
		{Number: 1, Name: "root", Type: gpt.MustGUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"), ID: gpt.GUID{1}, First: FirstSector, Last: last},
		{Number: 2, Name: "verity", Type: gpt.MustGUID("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"), ID: gpt.GUID{2}, First: last + 1, Last: last + 8},
	}
	sectors := last + 64
	table, err := gpt.New(gpt.GUID{3}, sectors, partitions)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := disk.Truncate(int64(sectors * gpt.SectorSize)); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.WriteAt(content, FirstSector*gpt.SectorSize); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.WriteAt(table.ProtectiveMBR(), 0); err != nil {
		t.Fatal(err)
	}
	if err := table.Write(disk); err != nil {
		t.Fatal(err)
	}
}

// Move says in both copies of a disk's table, with right checksums, that a partition lies elsewhere (UEFI specification, 5.3.2 and 5.3.3).
func Move(t testing.TB, path string, number int, first, last uint64) {
	t.Helper()
	disk, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	info, err := disk.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{gpt.SectorSize, info.Size() - gpt.SectorSize} {
		header := make([]byte, gpt.SectorSize)
		if _, err := disk.ReadAt(header, at); err != nil {
			t.Fatal(err)
		}
		le := binary.LittleEndian
		entries := make([]byte, le.Uint32(header[80:])*le.Uint32(header[84:]))
		start := int64(le.Uint64(header[72:]) * gpt.SectorSize)
		if _, err := disk.ReadAt(entries, start); err != nil {
			t.Fatal(err)
		}
		entry := entries[128*(number-1):]
		le.PutUint64(entry[32:], first)
		le.PutUint64(entry[40:], last)
		le.PutUint32(header[88:], crc32.ChecksumIEEE(entries))
		le.PutUint32(header[16:], 0)
		le.PutUint32(header[16:], crc32.ChecksumIEEE(header[:92]))
		if _, err := disk.WriteAt(entries, start); err != nil {
			t.Fatal(err)
		}
		if _, err := disk.WriteAt(header, at); err != nil {
			t.Fatal(err)
		}
	}
}
