package rung

import "strings"

// Options returns the kernel options needed to mount images of the rung.
func (r Rung) Options() []string {
	var compressors, filters []string
	if r.Compressor != "" {
		compressors = append(compressors, r.Compressor)
	}
	if r.Filter != "" {
		filters = append(filters, r.Filter)
	}
	return Options(r.Filesystem, compressors, filters)
}

// Options returns the kernel options needed to read a file system with compressors and machine code filters,
// named as by the file system's tools (fs/squashfs/Kconfig, fs/erofs/Kconfig, lib/xz/Kconfig).
func Options(filesystem Filesystem, compressors, filters []string) []string {
	options := []string{"SQUASHFS"}
	if filesystem == EROFS {
		options = []string{"EROFS_FS"}
		if len(compressors) > 0 {
			options = append(options, "EROFS_FS_ZIP") // includes lz4, and is required by the others
		}
	}
	for _, compressor := range compressors {
		if option := compressorOption(filesystem, compressor); option != "" {
			options = append(options, option)
		}
	}
	for _, filter := range filters {
		options = append(options, "XZ_DEC_"+strings.ToUpper(filter))
	}
	return options
}

// compressorOption returns the option for one compressor; empty for lz4 in erofs, which has no option.
func compressorOption(filesystem Filesystem, compressor string) string {
	switch {
	case filesystem == SquashFS && compressor == "gzip":
		return "SQUASHFS_ZLIB"
	case filesystem == SquashFS:
		return "SQUASHFS_" + strings.ToUpper(compressor)
	case compressor == "lz4", compressor == "lz4hc":
		return ""
	}
	return "EROFS_FS_ZIP_" + strings.ToUpper(compressor)
}
