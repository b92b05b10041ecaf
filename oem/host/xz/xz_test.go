package xz

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/flatcar/oem-sysext/oem/host/needs"
)

// pack compresses in blocks, with one kind of check.
func pack(t testing.TB, content []byte, check byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := xz.WriterConfig{BlockSize: 100_000, CheckSum: check, NoCheckSum: check == xz.None}.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// mixed is content of which a part cannot be compressed.
func mixed() []byte {
	content := bytes.Repeat([]byte("text "), 50_000)
	random := rand.New(rand.NewPCG(1, 2))
	for range 30_000 {
		content = binary.LittleEndian.AppendUint64(content, random.Uint64())
	}
	return content
}

func TestReader(t *testing.T) {
	content := mixed()
	for _, check := range []byte{xz.None, xz.CRC32, xz.CRC64, xz.SHA256} {
		packed := pack(t, content, check)
		two := bytes.Join([][]byte{packed, make([]byte, 8), packed, make([]byte, 4)}, nil)
		r, err := NewReader(bytes.NewReader(two))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, append(bytes.Clone(content), content...)) {
			t.Errorf("check %d: %d bytes, %v; wanted twice the content", check, len(got), err)
		}
		in := bufio.NewReader(io.MultiReader(bytes.NewReader(packed), strings.NewReader("after")))
		if r, err = NewStreamReader(in); err != nil {
			t.Fatal(err)
		}
		got, err = io.ReadAll(r)
		rest, restErr := io.ReadAll(in)
		if err != nil || restErr != nil || !bytes.Equal(got, content) || string(rest) != "after" {
			t.Errorf("check %d: %d bytes, %v; %d bytes behind it, %v", check, len(got), err, len(rest), restErr)
		}
	}
}

// What xz itself makes, with sizes in the headers of blocks, and with the largest dictionary of its levels.
func TestReaderOfXZ(t *testing.T) {
	needs.Programs(t, "xz")
	content := mixed()
	for _, args := range [][]string{{"-9e"}, {"-T2", "--block-size=100000"}, {"--lzma2=dict=128MiB", "-Csha256"}} {
		command := exec.CommandContext(t.Context(), "xz", append(args, "-c")...)
		command.Stdin = bytes.NewReader(content)
		packed, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%v: %d bytes, %v", args, len(got), err)
		}
	}
}

// TestDictionary has each block ask for a large dictionary in turn, with a sum that fits.
func TestDictionary(t *testing.T) {
	packed := pack(t, mixed(), xz.CRC32)
	blocks := 0
	w := watch(bufio.NewReader(bytes.NewReader(packed)), false)
	for w.next != nil {
		at := w.at
		if _, err := io.CopyN(io.Discard, w, 1); err != nil {
			break
		}
		if at == 0 || at != w.block || packed[at] == 0 {
			if _, err := io.CopyN(io.Discard, w, w.left); err != nil {
				t.Fatal(err)
			}
			continue
		}
		blocks++
		length := (int(packed[at]) + 1) * 4
		for bits, want := range map[byte]string{31: "wants a dictionary of 192.0 MiB; wanted at most 128.0 MiB", 40: "wants a dictionary of 4.0 GiB", 41: "invalid header", 30: ""} {
			hostile := bytes.Clone(packed)
			properties := bytes.Index(hostile[at:at+int64(length)], []byte{0x21, 1})
			hostile[int(at)+properties+2] = bits
			head := hostile[at : at+int64(length)-4]
			binary.LittleEndian.PutUint32(hostile[at+int64(length)-4:], crc32.ChecksumIEEE(head))
			r, err := NewReader(bytes.NewReader(hostile))
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("block %d, %d: error is %v; wanted %q", blocks, bits, err, want)
			}
		}
		if _, err := io.CopyN(io.Discard, w, w.left); err != nil {
			t.Fatal(err)
		}
	}
	if blocks < 3 {
		t.Errorf("%d blocks were tried; wanted several", blocks)
	}
}

func FuzzReader(f *testing.F) {
	small := pack(f, []byte("content"), xz.CRC64)
	f.Add(small)
	f.Add(append(bytes.Clone(small), small...))
	f.Add(small[:len(small)-9])
	f.Fuzz(func(t *testing.T, file []byte) {
		read := func(r io.Reader, err error) (string, error) {
			if err != nil {
				return "", err
			}
			content, err := io.ReadAll(io.LimitReader(r, 1<<20))
			return string(content), err
		}
		got, err := read(NewReader(bytes.NewReader(file)))
		if err != nil {
			return
		}
		want, err := read(func() (io.Reader, error) { r, err := xz.NewReader(bytes.NewReader(file)); return r, err }())
		if err != nil || got != want {
			t.Errorf("got %q; the library reads %q, %v", got, want, fmt.Sprint(err))
		}
	})
}
