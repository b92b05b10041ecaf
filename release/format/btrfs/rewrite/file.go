package rewrite

import (
	"errors"
	"fmt"

	"github.com/flatcar/oem-sysext/release/format/btrfs/codec"
	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
)

// fileExtent is a stretch of a file: inline data, or a part of an extent on disk.
type fileExtent struct {
	at          uint64 // in the file
	kind        uint8
	generation  uint64
	compression uint8
	ram         uint64 // bytes of the whole extent, uncompressed
	inline      []byte
	disk        uint64 // address; 0 for a hole
	diskLength  uint64
	skip        uint64 // where in the uncompressed extent the stretch starts
	length      uint64
}

// maxExtent is the longest extent on disk (kernel fs/btrfs/fs.h, BTRFS_MAX_EXTENT_SIZE).
const maxExtent = 128 << 20

func parseFileExtent(it item) (fileExtent, error) {
	if len(it.data) < ondisk.FileInlineData {
		return fileExtent{}, fmt.Errorf("file extent %v has %d bytes; wanted at least %d", it.key, len(it.data), ondisk.FileInlineData)
	}
	e := fileExtent{
		at: it.key.offset, kind: it.data[ondisk.FileType], generation: ondisk.Uint64(it.data, ondisk.FileGeneration),
		compression: it.data[ondisk.FileCompression], ram: ondisk.Uint64(it.data, ondisk.FileRAMBytes),
	}
	if it.data[ondisk.FileEncryption] != 0 || ondisk.Uint16(it.data, ondisk.FileEncoding) != 0 {
		return fileExtent{}, fmt.Errorf("file extent %v is encrypted or encoded in an unknown way", it.key)
	}
	if e.kind == ondisk.TypeInline {
		e.inline, e.length = it.data[ondisk.FileInlineData:], e.ram
		if e.ram > ondisk.BlockSize {
			return fileExtent{}, fmt.Errorf("inline extent %v has %d bytes; wanted at most %d", it.key, e.ram, ondisk.BlockSize)
		}
		return e, nil
	}
	if len(it.data) != ondisk.FileLength || e.kind > ondisk.TypePrealloc {
		return fileExtent{}, fmt.Errorf("file extent %v has type %d and %d bytes; wanted %d bytes", it.key, e.kind, len(it.data), ondisk.FileLength)
	}
	e.disk, e.diskLength = ondisk.Uint64(it.data, ondisk.FileDiskAddress), ondisk.Uint64(it.data, ondisk.FileDiskBytes)
	e.skip, e.length = ondisk.Uint64(it.data, ondisk.FileOffset), ondisk.Uint64(it.data, ondisk.FileBytes)
	return e, e.check(it.key)
}

func (e fileExtent) check(k key) error {
	for _, n := range []uint64{e.at, e.disk, e.diskLength, e.skip, e.length} {
		if n%ondisk.BlockSize != 0 {
			return fmt.Errorf("file extent %v has a part at or of %d bytes; wanted whole blocks of %d", k, n, ondisk.BlockSize)
		}
	}
	if e.at+e.length < e.at {
		return fmt.Errorf("file extent %v has %d bytes and no end", k, e.length)
	}
	if e.disk == 0 {
		return nil
	}
	if e.diskLength == 0 || e.diskLength > maxExtent || e.ram > maxExtent || e.skip > e.ram || e.length > e.ram-e.skip {
		return fmt.Errorf("file extent %v takes %d bytes from %d of an extent of %d, %d on disk; wanted at most %d",
			k, e.length, e.skip, e.ram, e.diskLength, maxExtent)
	}
	if e.compression != ondisk.CompressNone && (e.ram > codec.Unit || e.diskLength > codec.Unit) {
		return fmt.Errorf("compressed extent %v has %d bytes, %d on disk; wanted at most %d", k, e.ram, e.diskLength, codec.Unit)
	}
	return nil
}

// end is where in the file the stretch ends.
func (e fileExtent) end() uint64 { return e.at + e.length }

// hasData tells a stretch with content from one that reads as zeros.
func (e fileExtent) hasData() bool {
	return e.kind == ondisk.TypeInline || e.kind == ondisk.TypeRegular && e.disk != 0
}

// readFile fills buf with the content of a file from an offset on. What no extent covers is zero.
func (r *reader) readFile(buf []byte, extents []fileExtent, at uint64) error {
	end := at + uint64(len(buf))
	for _, e := range extents {
		if !e.hasData() || e.end() <= at || e.at >= end {
			continue
		}
		from, to := max(e.at, at), min(e.end(), end)
		if err := r.readExtent(buf[from-at:to-at], e, from-e.at); err != nil {
			return fmt.Errorf("extent at %d: %w", e.at, err)
		}
	}
	return nil
}

// readExtent fills buf with the content of a stretch from an offset in it.
func (r *reader) readExtent(buf []byte, e fileExtent, at uint64) error {
	raw := e.inline
	if e.kind == ondisk.TypeRegular {
		from, length := uint64(0), e.diskLength
		if e.compression == ondisk.CompressNone {
			from, length = e.skip+at, uint64(ondisk.Padded(len(buf)))
		}
		if from+length > e.diskLength {
			return errors.New("it ends too early")
		}
		raw = make([]byte, length)
		if err := r.readData(raw, e.disk+from); err != nil {
			return err
		}
	}
	if e.compression == ondisk.CompressNone {
		if e.kind == ondisk.TypeInline {
			raw = raw[min(at, uint64(len(raw))):]
		}
		copy(buf, raw)
		return nil
	}
	content, err := codec.Decode(raw, e.compression, int(e.ram))
	if err != nil {
		return err
	}
	copy(buf, content[min(e.skip+at, uint64(len(content))):])
	return nil
}
