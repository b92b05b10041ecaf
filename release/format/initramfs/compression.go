package initramfs

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/flatcar/oem-sysext/oem/host/size"
	limited "github.com/flatcar/oem-sysext/oem/host/xz"
)

// Compression is how a segment is compressed.
type Compression string

// The supported compressions. Kernels know more.
const (
	None Compression = ""
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
	XZ   Compression = "xz"
)

// String returns a word, also for no compression.
func (c Compression) String() string {
	if c == None {
		return "not compressed"
	}
	return string(c)
}

// beginnings are the magic bytes by which kernels recognize compressions (lib/decompress.c).
var beginnings = map[string]Compression{
	"\x1f\x8b": Gzip,
	"\x1f\x9e": "gzip, as it was before 1993",
	"BZ":       "bzip2",
	"\x5d\x00": "lzma",
	"\xfd7":    XZ,
	"\x89L":    "lzo",
	"\x02\x21": "lz4",
	"\x28\xb5": Zstd,
}

func detect(head []byte) Compression { return beginnings[string(head)] }

// maxWindow is the kernels' limit of zstd windows (include/linux/zstd.h, lib/decompress_unzstd.c).
const maxWindow = 128 * size.MiB

// open returns the decompressed content of the segment that begins here. At its end, the source is at the segment's end.
func (c Compression) open(in *source) (io.Reader, error) {
	switch c {
	case Gzip:
		return openGzip(in)
	case Zstd:
		d, err := zstd.NewReader(&framed{in: in, next: (&zstdFrame{in: in}).header},
			zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(uint64(maxWindow)))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return closing{d}, nil
	case XZ:
		err := checkXZ(in)
		var r io.Reader
		if err == nil {
			r, err = limited.NewStreamReader(in)
		}
		if err != nil {
			return nil, fmt.Errorf("xz: %w", err)
		}
		return r, nil
	}
	return nil, fmt.Errorf("%s is not supported here, so its content and everything behind it is unknown", c)
}

// closing frees a decoder at the end.
type closing struct{ *zstd.Decoder }

func (c closing) Read(p []byte) (int, error) {
	n, err := c.Decoder.Read(p)
	if err != nil {
		c.Close()
	}
	return n, err
}

// openGzip refuses headers that kernels misread: they support a file name in the header and nothing else
// (lib/decompress_inflate.c).
func openGzip(in *source) (io.Reader, error) {
	const flags, name, text = 3, 1 << 3, 1 << 0
	head, err := in.Peek(flags + 1)
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", io.ErrUnexpectedEOF)
	}
	if more := head[flags] &^ (name | text); more != 0 {
		return nil, fmt.Errorf("gzip: the header has the flags %#x, which kernels take for data; make it with gzip --no-name", more)
	}
	r, err := gzip.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	r.Multistream(false)
	return r, nil
}

// NewWriter returns a writer whose output kernels can read. It uses a low level, because most content is compressed already. The
// caller closes it.
func (c Compression) NewWriter(out io.Writer) (io.WriteCloser, error) {
	switch c {
	case None:
		return plain{out}, nil
	case Gzip:
		return gzip.NewWriterLevel(out, gzip.BestSpeed)
	case Zstd: // with one thread the same bytes come out on every machine
		return zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(int(size.MiB)))
	case XZ: // kernels know no other checksum
		return xz.WriterConfig{CheckSum: xz.CRC32}.NewWriter(out)
	}
	return nil, errors.New("nothing compresses with " + string(c) + " here; wanted gzip, zstd, xz or none")
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }
