// Package rung describes how an image is packed.
package rung

import (
	"fmt"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Filesystem is the file system of an image. systemd mounts both as bare images (systemd-sysext, image-policy.c).
type Filesystem string

// The file systems.
const (
	SquashFS Filesystem = "squashfs"
	EROFS    Filesystem = "erofs"
)

// Where erofs puts the tails of files (mkfs.erofs -E).
const (
	Inline   = "ztailpacking" // beside their inodes, since erofs-utils 1.5
	Together = "fragments"    // compressed together, since 1.6: smaller, and slow to read where files are small
)

// Default is the rung of images packed without a plan: the smallest with cold reads above 250 MB/s on one core.
var Default = Rung{Filesystem: SquashFS, Compressor: "zstd", Level: 15, Block: 128 * size.KiB}

// Rung is one way to pack a tree.
type Rung struct {
	Filesystem Filesystem `json:"filesystem"`
	Compressor string     `json:"compressor,omitempty"` // named as by the file system's tools; empty for none
	Level      int        `json:"level,omitempty"`      // 0 if the compressor has none
	Block      size.Bytes `json:"block,omitempty"`      // squashfs: uncompressed block size; erofs: maximum compressed cluster size
	Filter     string     `json:"filter,omitempty"`     // for machine code, before xz; named as by squashfs-tools
	Tails      string     `json:"tails,omitempty"`      // erofs only: where tails of files go, named as by mkfs.erofs
}

// String prints the rung's name, which is unique: "squashfs-zstd-15-128K", "squashfs-xz-1M-x86", "erofs". The zero rung is that of
// images that are not packed here.
func (r Rung) String() string {
	if r == (Rung{}) {
		return "unchanged"
	}
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
