// Package rung names the ways in which an image can be packed.
package rung

import (
	"fmt"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Filesystem is what an image is. Both are among those that systemd mounts as a bare image (systemd-sysext, image-policy.c).
type Filesystem string

// The file systems.
const (
	SquashFS Filesystem = "squashfs"
	EROFS    Filesystem = "erofs"
)

// Where ends of files go in erofs (mkfs.erofs -E).
const (
	Inline   = "ztailpacking" // beside their inodes, since erofs-utils 1.5
	Together = "fragments"    // compressed together, since 1.6: smaller, and slow to read where files are small
)

// Default is the rung of images that are packed without a plan: of the levels and block sizes whose cold reads
// stay above 250 MB/s on one core, the one with the smallest images.
var Default = Rung{Filesystem: SquashFS, Compressor: "zstd", Level: 15, Block: 128 * size.KiB}

// Rung is one way to pack a tree.
type Rung struct {
	Filesystem Filesystem `json:"filesystem"`
	Compressor string     `json:"compressor,omitempty"` // as the file system's tools name it; empty for none
	Level      int        `json:"level,omitempty"`      // zero where the compressor has none
	Block      size.Bytes `json:"block,omitempty"`      // of squashfs: what is compressed in one piece; of erofs: the most that such a piece becomes
	Filter     string     `json:"filter,omitempty"`     // of machine code, before xz: as squashfs-tools name it
	Tails      string     `json:"tails,omitempty"`      // of erofs: what becomes of ends of files, as mkfs.erofs names it
}

// String prints the rung's name, which is unique: "squashfs-zstd-15-128K", "squashfs-xz-1M-x86", "erofs".
func (r Rung) String() string {
	parts := []string{string(r.Filesystem)}
	if r.Compressor != "" {
		parts = append(parts, r.Compressor)
	}
	if r.Level != 0 {
		parts = append(parts, fmt.Sprint(r.Level))
	}
	if r.Block != 0 {
		parts = append(parts, blockName(r.Block))
	}
	if r.Filter != "" {
		parts = append(parts, r.Filter)
	}
	if r.Tails != "" {
		parts = append(parts, r.Tails)
	}
	return strings.Join(parts, "-")
}

func blockName(b size.Bytes) string {
	if b%size.MiB == 0 {
		return fmt.Sprintf("%dM", b/size.MiB)
	}
	return fmt.Sprintf("%dK", b/size.KiB)
}
