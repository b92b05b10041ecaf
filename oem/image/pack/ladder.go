package pack

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/rung"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
)

// all are the useful rungs. Left out are those that another one beats in size and speed: gzip,
// squashfs xz below 1M, squashfs zstd-22, erofs lz4hc with fragments or above 64K, erofs lzma below 1M,
// and erofs zstd, which takes mkfs.erofs 1.8 twenty times as long as mksquashfs for larger images.
var all = []rung.Rung{
	{Filesystem: rung.EROFS},
	{Filesystem: rung.EROFS, Compressor: "lz4hc", Level: 12, Block: 4 * size.KiB},
	{Filesystem: rung.EROFS, Compressor: "lz4hc", Level: 12, Block: 64 * size.KiB, Tails: rung.Inline},
	{Filesystem: rung.EROFS, Compressor: "lzma", Level: 9, Block: 1 * size.MiB, Tails: rung.Together},
	{Filesystem: rung.SquashFS, Compressor: "zstd", Level: 3, Block: 128 * size.KiB},
	rung.Default,
	{Filesystem: rung.SquashFS, Compressor: "zstd", Level: 19, Block: 512 * size.KiB},
	{Filesystem: rung.SquashFS, Compressor: "zstd", Level: 19, Block: 1 * size.MiB},
	{Filesystem: rung.SquashFS, Compressor: "xz", Block: 1 * size.MiB},
	{Filesystem: rung.SquashFS, Compressor: "xz", Block: 1 * size.MiB, Filter: "x86"},
	{Filesystem: rung.SquashFS, Compressor: "xz", Block: 1 * size.MiB, Filter: "arm64"},
}

// Ladder returns the rungs that the writers can make for an architecture and the kernel can read.
func Ladder(a arch.Arch, kernel target.KernelConfig, writers Writers) []rung.Rung {
	return slices.DeleteFunc(slices.Clone(all), func(r rung.Rung) bool {
		return r.Filter != "" && r.Filter != a.Filter() || !readable(r, kernel) || !writers.can(r)
	})
}

// readable tells whether a kernel can read images of a rung.
func readable(r rung.Rung, kernel target.KernelConfig) bool {
	return !slices.ContainsFunc(r.Options(), func(option string) bool { return !kernel.Has(option) })
}

// Writers are the features of a tool root's image writers.
type Writers struct {
	SquashFS []string // compressors of mksquashfs
	Filters  []string // of its xz
	EROFS    []string // compressors of mkfs.erofs
	Tails    []string // features of mkfs.erofs for the tails of files
}

// Detect reads the features of the image writers from their usage texts.
func Detect(ctx context.Context, tools *toolroot.Root) (Writers, error) {
	var w Writers
	squash, err := usage(ctx, tools, "mksquashfs", "-help")
	if err != nil {
		return w, err
	}
	_, compressors, _ := strings.Cut(squash, "Compressors available:")
	w.SquashFS = strings.Fields(compressors)
	w.Filters = []string{}
	if _, bcj, found := strings.Cut(squash, "-Xbcj "); found {
		_, list, _ := strings.Cut(bcj, "Available filters:")
		line, _, _ := strings.Cut(strings.TrimSpace(list), "\n")
		w.Filters = strings.FieldsFunc(line, func(c rune) bool { return c == ',' || c == ' ' })
	}
	erofs, err := usage(ctx, tools, "mkfs.erofs", "--help", "--version")
	if err != nil {
		return w, err
	}
	_, available, _ := strings.Cut(erofs, "available compressors:")
	w.EROFS = strings.FieldsFunc(available, func(c rune) bool { return c == ',' || c == ' ' || c == '\n' })
	var major, minor int
	_, version, _ := strings.Cut(erofs, "(erofs-utils) ")
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return w, fmt.Errorf("mkfs.erofs --version prints no version: %w", err)
	}
	if major > 1 || minor >= 5 {
		w.Tails = append(w.Tails, rung.Inline)
	}
	if major > 1 || minor >= 6 {
		w.Tails = append(w.Tails, rung.Together)
	}
	return w, nil
}

// usage returns the output of a program for each of the arguments.
func usage(ctx context.Context, tools *toolroot.Root, program string, args ...string) (string, error) {
	var out bytes.Buffer
	for _, arg := range args {
		// Some print to standard error and some fail after it.
		shell := toolroot.Cmd{Program: "sh", Args: []string{"-c", `"$@" 2>&1 || true`, program, program, arg}, Stdout: &out}
		if err := tools.Run(ctx, shell); err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

func (w Writers) can(r rung.Rung) bool {
	if r.Filesystem == rung.SquashFS {
		return slices.Contains(w.SquashFS, r.Compressor) && (r.Filter == "" || slices.Contains(w.Filters, r.Filter))
	}
	return (r.Compressor == "" || slices.Contains(w.EROFS, r.Compressor)) && (r.Tails == "" || slices.Contains(w.Tails, r.Tails))
}
