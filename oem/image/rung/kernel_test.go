package rung

import (
	"slices"
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	for want, r := range map[string]Rung{
		"SQUASHFS SQUASHFS_ZSTD":                  Default,
		"SQUASHFS SQUASHFS_ZLIB":                  {Filesystem: SquashFS, Compressor: "gzip"},
		"SQUASHFS SQUASHFS_XZ XZ_DEC_ARM64":       {Filesystem: SquashFS, Compressor: "xz", Filter: "arm64"},
		"EROFS_FS":                                {Filesystem: EROFS},
		"EROFS_FS EROFS_FS_ZIP":                   {Filesystem: EROFS, Compressor: "lz4hc"},
		"EROFS_FS EROFS_FS_ZIP EROFS_FS_ZIP_LZMA": {Filesystem: EROFS, Compressor: "lzma"},
	} {
		if got := strings.Join(r.Options(), " "); got != want {
			t.Errorf("%v needs %s; wanted %s", r, got, want)
		}
	}
	several := Options(EROFS, []string{"lz4", "lzma", "zstd"}, nil)
	if want := strings.Fields("EROFS_FS EROFS_FS_ZIP EROFS_FS_ZIP_LZMA EROFS_FS_ZIP_ZSTD"); !slices.Equal(several, want) {
		t.Errorf("several compressors need %v", several)
	}
}
