package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

var some = digest.Of([]byte("some file system"))

// amd64Kernel is the head of a kernel as Flatcar's is: with the message, and the PE header behind it.
func amd64Kernel() []byte {
	k := make([]byte, 4096)
	copy(k, "MZ")
	copy(k[64:], message+"\n\x00")
	putPE(k, 130, 0x8664, nil)
	copy(k[0x202:], "HdrS")
	return k
}

// arm64Kernel is the head of one for arm64, with its one section behind the gap.
func arm64Kernel() []byte {
	k := make([]byte, 8192)
	copy(k, "MZ")
	copy(k[56:], "ARM\x64")
	putPE(k, 64, 0xaa64, [][2]uint32{{4096, 4096}})
	return k
}

// putPE writes PE headers with sections that have an offset and a length each.
func putPE(k []byte, at int, machine uint16, sections [][2]uint32) {
	binary.LittleEndian.PutUint32(k[0x3c:], uint32(at))
	copy(k[at:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(k[at+4:], machine)
	binary.LittleEndian.PutUint16(k[at+6:], uint16(len(sections)))
	binary.LittleEndian.PutUint16(k[at+20:], 160)
	binary.LittleEndian.PutUint16(k[at+24:], magicPE32Plus)
	binary.LittleEndian.PutUint32(k[at+24+optionalDirectories:], 6)
	for i, s := range sections {
		entry := k[at+24+160+i*40:]
		copy(entry, ".text")
		binary.LittleEndian.PutUint32(entry[16:], s[1])
		binary.LittleEndian.PutUint32(entry[20:], s[0])
	}
}

// file is a kernel in memory.
type file struct{ content []byte }

func newFile(content []byte) *file { return &file{bytes.Clone(content)} }

func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	return bytes.NewReader(f.content).ReadAt(p, offset)
}

func (f *file) WriteAt(p []byte, offset int64) (int, error) {
	return copy(f.content[offset:offset+int64(len(p))], p), nil // nothing is ever appended there
}

func (f *file) Write(p []byte) (int, error) {
	f.content = append(f.content, p...)
	return len(p), nil
}

func (f *file) Truncate(length int64) error {
	f.content = f.content[:length]
	return nil
}

func (f *file) length() size.Bytes { return size.Bytes(len(f.content)) }

func TestRootHashGoesToItsPlaceOnly(t *testing.T) {
	for a, k := range map[arch.Arch][]byte{arch.AMD64: amd64Kernel(), arch.ARM64: arm64Kernel()} {
		f := newFile(k)
		if got, err := RootHash(f, a); err != nil || !got.IsZero() {
			t.Errorf("%s: before: %v, %v", a, got, err)
		}
		for _, hash := range []digest.SHA256{digest.Of(nil), some} { // the second one replaces the first
			if err := SetRootHash(f, a, hash); err != nil {
				t.Fatalf("%s: %v", a, err)
			}
			if got, err := RootHash(f, a); err != nil || got != hash {
				t.Errorf("%s: read back %v, %v", a, got, err)
			}
		}
		want := bytes.Clone(k)
		copy(want[map[arch.Arch]int{arch.AMD64: 64, arch.ARM64: 512}[a]:], some.String())
		if diff := cmp.Diff(want, f.content); diff != "" {
			t.Errorf("%s: %s", a, diff)
		}
	}
}

func TestNothingIsWrittenWhereItCouldHarm(t *testing.T) {
	amd64 := func(change func(k []byte)) []byte { k := amd64Kernel(); change(k); return k }
	arm64 := func(change func(k []byte)) []byte { k := arm64Kernel(); change(k); return k }
	for name, c := range map[string]struct {
		arch    arch.Arch
		kernel  []byte
		want    string
		noField bool
	}{
		"empty":                {arch.AMD64, nil, "ends before byte 518", false},
		"text":                 {arch.AMD64, bytes.Repeat([]byte("no kernel "), 100), `wanted "HdrS"`, false},
		"the other one":        {arch.AMD64, arm64Kernel(), `wanted "HdrS"`, false},
		"the other one, too":   {arch.ARM64, amd64Kernel(), `wanted "ARMd"`, false},
		"PE header there":      {arch.AMD64, amd64(func(k []byte) { putPE(k, 64, 0x8664, nil) }), "PE header is at byte 64", true},
		"PE header reaches in": {arch.AMD64, amd64(func(k []byte) { putPE(k, 124, 0x8664, nil) }), "PE header is at byte 124", true},
		"other text there":     {arch.AMD64, amd64(func(k []byte) { k[64] = 'u' }), "neither a root hash nor free", true},
		"upper case":           {arch.AMD64, amd64(func(k []byte) { copy(k[64:], strings.ToUpper(some.String())) }), "neither", true},
		"headers reach in": {arch.ARM64, arm64(func(k []byte) {
			putPE(k, 64, 0xaa64, [][2]uint32{{4096, 1}, {4096, 1}, {4096, 1}, {4096, 1}, {4096, 1}, {4096, 1}, {4096, 1}})
		}), "EFI headers end at byte 528", true},
		"section there": {arch.ARM64, arm64(func(k []byte) { putPE(k, 64, 0xaa64, [][2]uint32{{512, 4096}}) }), `section ".text" has bytes 512`, true},
		"gap not empty": {arch.ARM64, arm64(func(k []byte) { k[575] = 1 }), "neither a root hash nor free", true},
	} {
		f := newFile(c.kernel)
		err := SetRootHash(f, c.arch, some)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v; want %q", name, err, c.want)
		}
		var noField *NoFieldError
		if errors.As(err, &noField) != c.noField {
			t.Errorf("%s: %T", name, err)
		}
		if !bytes.Equal(f.content, c.kernel) {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

// signedKernel is a kernel with something behind it that its header calls signatures.
func signedKernel(offset, length uint32) []byte {
	k := amd64Kernel()
	at := 130 + coffLength + optionalCertificate
	binary.LittleEndian.PutUint32(k[at:], offset)
	binary.LittleEndian.PutUint32(k[at+4:], length)
	return append(k, make([]byte, 64)...)
}

func TestStripSignature(t *testing.T) {
	f := newFile(signedKernel(4096, 64))
	for _, was := range []bool{true, false} {
		if signed, err := Signed(f, f.length()); err != nil || signed != was {
			t.Errorf("signed is %v, %v; want %v", signed, err, was)
		}
		if stripped, err := StripSignature(f, f.length()); err != nil || stripped != was {
			t.Errorf("stripped is %v, %v; want %v", stripped, err, was)
		}
		if f.length() != 4096 {
			t.Errorf("it has %d bytes", f.length())
		}
	}
	for want, k := range map[string][]byte{
		"wanted the end of the file, byte 4160":    signedKernel(4096, 63),
		"bytes 8 to 4160":                          signedKernel(8, 4152),
		"PE magic is 0x10b":                        func() []byte { k := signedKernel(4096, 64); k[130+24] = 0x0b; k[130+25] = 1; return k }(),
		"bytes 4294967295 to 8589934590":           signedKernel(1<<32-1, 1<<32-1),
		"PE optional header: the file ends before": amd64Kernel()[:200],
	} {
		f := newFile(k)
		if _, err := StripSignature(f, f.length()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
		if !bytes.Equal(f.content, k) {
			t.Errorf("%q: the file was changed", want)
		}
	}
}

// TestStrippingUndoesSigning signs with a real tool. What is left must be what was signed, but for the checksum.
func TestStrippingUndoesSigning(t *testing.T) {
	needs.Programs(t, "openssl", "osslsigncode")
	dir := t.TempDir()
	command := func(program string, args ...string) {
		t.Helper()
		if err := run.Run(t.Context(), run.Cmd{Program: program, Args: args, Dir: dir, Env: run.HostEnv("PATH")}); err != nil {
			t.Fatal(err)
		}
	}
	k := arm64Kernel()
	f := newFile(k)
	sum, err := checksum(f, int64(len(k)), 64+coffLength+optionalChecksum)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(f.content[64+coffLength+optionalChecksum:], sum)
	if err := os.WriteFile(filepath.Join(dir, "plain"), f.content, 0o644); err != nil {
		t.Fatal(err)
	}
	command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "10", "-subj", "/CN=test")
	command("osslsigncode", "sign", "-certs", "cert.pem", "-key", "key.pem", "-h", "sha256", "-in", "plain", "-out", "signed")
	signed, err := os.ReadFile(filepath.Join(dir, "signed"))
	if err != nil {
		t.Fatal(err)
	}
	was := newFile(signed)
	if stripped, err := StripSignature(was, was.length()); err != nil || !stripped {
		t.Fatalf("stripped is %v, %v", stripped, err)
	}
	if diff := cmp.Diff(f.content, was.content); diff != "" {
		t.Error(diff)
	}
}

// program is one of ELF with one note.
func program(owner string, note uint32) []byte {
	const header, segment, notes = 64, 56, 20
	p := make([]byte, header+segment+notes)
	copy(p, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(p[16:], uint16(elf.ET_EXEC))
	le.PutUint16(p[18:], uint16(elf.EM_X86_64))
	le.PutUint32(p[20:], 1)
	le.PutUint64(p[32:], header)
	le.PutUint16(p[54:], segment)
	le.PutUint16(p[56:], 1)
	le.PutUint32(p[header:], uint32(elf.PT_NOTE))
	le.PutUint64(p[header+8:], header+segment)
	le.PutUint64(p[header+32:], notes)
	for i, field := range []uint32{uint32(len(owner)), 4, note} {
		le.PutUint32(p[header+segment+4*i:], field)
	}
	copy(p[header+segment+12:], owner)
	return p
}

// packedKernel is a kernel for amd64 that has packed a program.
func packedKernel(t testing.TB, program []byte) []byte {
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := encoder.EncodeAll(program, nil)
	k, at := amd64Kernel(), 5*512+100
	k[0x1f1] = 4
	binary.LittleEndian.PutUint16(k[0x206:], 0x20f)
	binary.LittleEndian.PutUint32(k[0x248:], 100)
	binary.LittleEndian.PutUint32(k[0x24c:], uint32(len(packed)+4))
	copy(k[at:], packed)
	binary.LittleEndian.PutUint32(k[at+len(packed):], uint32(len(program)))
	return k
}

func TestUnpack(t *testing.T) {
	good := packedKernel(t, program("Xen\x00", 18))
	changed := func(at int, to byte) []byte {
		k := bytes.Clone(good)
		k[at] = to
		return k
	}
	for name, test := range map[string]struct {
		kernel   []byte
		unpacked bool
	}{
		"packed with zstd":         {good, true},
		"another owner's note":     {packedKernel(t, program("Xeo\x00", 18)), false},
		"another note":             {packedKernel(t, program("Xen\x00", 17)), false},
		"no kernel":                {changed(0x202, 0), false},
		"before payloads":          {changed(0x206, 7), false},
		"packed otherwise":         {changed(5*512+100, 0), false},
		"damaged":                  {changed(5*512+100+5, 0xff), false},
		"a payload that ends late": {changed(0x24e, 1), false},
		"no payload":               {changed(0x24c, 0), false},
		"short":                    {good[:0x24c], false},
		"empty":                    {nil, false},
		"for arm64":                {arm64Kernel(), false},
	} {
		into := newFile(nil)
		if unpacked, err := Unpack(newFile(test.kernel), into); unpacked != test.unpacked || err != nil {
			t.Errorf("%s: %v, %v", name, unpacked, err)
		}
		if test.unpacked && !bytes.Equal(into.content, program("Xen\x00", 18)) {
			t.Errorf("%s: it is another program", name)
		}
	}
}

// full is a disk without room.
type full struct{ file }

func (full) Write([]byte) (int, error) { return 0, unix.ENOSPC }

func TestUnpackToFullDisk(t *testing.T) {
	if _, err := Unpack(newFile(packedKernel(t, program("Xen\x00", 18))), &full{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error is %v", err)
	}
}

func FuzzKernel(f *testing.F) {
	f.Add(amd64Kernel()[:1024])
	f.Add(arm64Kernel()[:1024])
	f.Add(signedKernel(4096, 64))
	f.Add(program("Xen\x00", 18))
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, a := range []arch.Arch{arch.AMD64, arch.ARM64} {
			k := newFile(content)
			if _, err := RootHash(k, a); err != nil {
				continue
			}
			if err := SetRootHash(k, a, some); err != nil {
				t.Fatalf("readable but not writable: %v", err)
			}
			if got, err := RootHash(k, a); err != nil || got != some {
				t.Fatalf("read back %v, %v", got, err)
			}
		}
		hasPVHEntry(newFile(content))
		k := newFile(content)
		if _, err := StripSignature(k, k.length()); err != nil {
			return
		}
		if signed, err := Signed(k, k.length()); err != nil || signed {
			t.Fatalf("after stripping: signed is %v, %v", signed, err)
		}
	})
}
