package kernel

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Fields of a PE32+ file's optional header, as byte offsets (Microsoft's PE format).
const (
	optionalMagic       = 0
	optionalChecksum    = 64
	optionalDirectories = 108 // how many there are
	optionalCertificate = 112 + 4*8
	optionalLength      = optionalCertificate + 8

	magicPE32Plus = 0x20b
)

// certificates is where a PE file has its table of signatures, which is the last thing in it.
type certificates struct {
	optional       int64 // where the optional header begins
	hasEntry       bool  // the header has room to say where they are
	offset, length int64 // length 0: there are none
}

// StripSignature takes all Secure Boot signatures off a kernel and tells whether there were any.
// What is left is what was signed, so that it can be signed anew.
func StripSignature(f File, length size.Bytes) (bool, error) {
	table, err := findCertificates(f, length)
	if err != nil || table.length == 0 {
		return false, err
	}
	if err := f.Truncate(table.offset); err != nil {
		return false, err
	}
	if _, err := f.WriteAt(make([]byte, 8), table.optional+optionalCertificate); err != nil {
		return false, err
	}
	sum, err := checksum(f, table.offset, table.optional+optionalChecksum)
	if err != nil {
		return false, err
	}
	_, err = f.WriteAt(binary.LittleEndian.AppendUint32(nil, sum), table.optional+optionalChecksum)
	return true, err
}

func findCertificates(f io.ReaderAt, length size.Bytes) (certificates, error) {
	header, isPE, err := peOffset(f)
	if err != nil || !isPE {
		return certificates{}, err
	}
	t := certificates{optional: header + coffLength}
	optional, err := readAt(f, t.optional, optionalLength)
	if err != nil {
		return certificates{}, fmt.Errorf("PE optional header: %w", err)
	}
	if got := binary.LittleEndian.Uint16(optional[optionalMagic:]); got != magicPE32Plus {
		return certificates{}, fmt.Errorf("byte %d: PE magic is %#x; wanted %#x (64 bits)", t.optional, got, magicPE32Plus)
	}
	if binary.LittleEndian.Uint32(optional[optionalDirectories:]) <= 4 {
		return t, nil // there is no directory for signatures
	}
	t.hasEntry = true
	t.offset = int64(binary.LittleEndian.Uint32(optional[optionalCertificate:]))
	t.length = int64(binary.LittleEndian.Uint32(optional[optionalCertificate+4:]))
	if t.length > 0 && (t.offset < t.optional+optionalLength || t.offset+t.length != int64(length)) {
		return certificates{}, fmt.Errorf("byte %d: the signatures have bytes %d to %d; wanted the end of the file, byte %d",
			t.optional+optionalCertificate, t.offset, t.offset+t.length, length)
	}
	return t, nil
}

// checksum is that of a PE file: the sum of its 16-bit words, its own place apart, with carries added, and its length.
// Firmware does not look at it, but other tools warn of a wrong one.
func checksum(f io.ReaderAt, length, skip int64) (uint32, error) {
	var sum uint64
	buf := make([]byte, 1<<20)
	for at := int64(0); at < length; at += int64(len(buf)) {
		n := min(int64(len(buf)), length-at)
		if _, err := f.ReadAt(buf[:n], at); err != nil {
			return 0, err
		}
		clear(buf[n:])
		for i := int64(0); i < 4; i++ {
			if skip+i >= at && skip+i < at+n {
				buf[skip+i-at] = 0
			}
		}
		for i := 0; i < len(buf); i += 2 {
			sum += uint64(binary.LittleEndian.Uint16(buf[i:]))
		}
	}
	for sum>>16 > 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint32(sum) + uint32(length), nil
}
