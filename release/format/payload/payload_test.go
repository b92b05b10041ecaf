package payload

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/format/payload/chunks"
)

// key is an RSA key as a Signer.
type key struct{ *rsa.PrivateKey }

func (k key) Public() *rsa.PublicKey { return &k.PublicKey }

func (k key) Sign(_ context.Context, _ string, d digest.SHA256) ([]byte, error) {
	return rsa.SignPKCS1v15(nil, k.PrivateKey, crypto.SHA256, d[:])
}

func newKey(t testing.TB, bits int) key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	check(t, err)
	return key{private}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// chunkSize is short for the size of the chunks that all tests count in.
const chunkSize = chunks.Size

// random returns bytes that nothing compresses.
func random(length int, seed byte) []byte {
	content := make([]byte, length)
	_, _ = mathrand.NewChaCha8([32]byte{seed}).Read(content)
	return content
}

func text(length int) []byte {
	var content []byte
	for i := 0; len(content) < length; i++ {
		content = append(content, "line "+strconv.Itoa(i*i)+" of a file\n"...)
	}
	return content[:length]
}

// mixed is an image of 11 MiB and one block, with all that chunks can be: text, random, empty, half of each, and a short end.
func mixed() []byte {
	return bytes.Join([][]byte{
		text(2*chunkSize + 77777), random(2*chunkSize, 1), make([]byte, 5*chunkSize), text(chunkSize / 2),
		random(chunkSize+chunkSize/2+blockSize-77777, 2),
	}, nil)
}

func source(content []byte) Source {
	return Source{Data: bytes.NewReader(content), Size: size.Bytes(len(content))}
}

// write makes a signed payload.
func write(t testing.TB, w *Writer, k key, image, kernel []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var second *Source
	if kernel != nil {
		s := source(kernel)
		second = &s
	}
	_, err := w.Write(t.Context(), &out, k.Public(), source(image), second)
	check(t, err)
	return sign(t, k, out.Bytes())
}

func sign(t testing.TB, k key, body []byte) []byte {
	t.Helper()
	signatures, err := Signatures(t.Context(), k, "test", digest.Of(body))
	check(t, err)
	return append(body, signatures...)
}

// stored is a writer that compresses nothing.
func stored(t testing.TB) *Writer {
	return &Writer{Scratch: t.TempDir(), Jobs: 2, Compress: func(_ context.Context, chunks [][]byte) ([][]byte, error) {
		return chunks, nil
	}}
}

func compressing(t testing.TB, jobs int) *Writer {
	t.Helper()
	scratch := t.TempDir()
	return &Writer{Scratch: scratch, Jobs: jobs, Compress: chunks.Compressor{Tools: toolroottest.Open(t), Scratch: scratch}.Compress}
}

// TestOthersApplyIt lets Python apply payloads as clients do, and OpenSSL verify the signature.
func TestOthersApplyIt(t *testing.T) {
	needs.Programs(t, "openssl")
	judge := toolroottest.Judges(t)
	for name, test := range map[string]struct {
		bits          int
		image, kernel []byte
	}{
		"update":                  {2048, mixed(), append(text(chunkSize), random(12345, 3)...)},
		"extension, longer key":   {3072, mixed()[:3*chunkSize+5*blockSize], nil},
		"extension of one block":  {2048, text(blockSize), nil},
		"kernel of a whole chunk": {2048, make([]byte, chunkSize), random(chunkSize, 4)},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKey(t, test.bits)
			payload := write(t, compressing(t, 2), k, test.image, test.kernel)
			dir := t.TempDir()
			path := filepath.Join(dir, "payload")
			check(t, os.WriteFile(path, payload, 0o644))
			script, err := filepath.Abs("testdata/decode.py")
			check(t, err)
			check(t, judge.Run(t.Context(), toolroot.Cmd{
				Program: "python3", Args: []string{script, path, dir}, Read: []string{script}, Write: []string{dir},
			}))
			for file, want := range map[string][]byte{"image": test.image, "kernel": test.kernel} {
				got, err := os.ReadFile(filepath.Join(dir, file))
				if !bytes.Equal(got, want) || (err == nil) != (want != nil) {
					t.Errorf("%s has %d B, %v; wanted %d B", file, len(got), err, len(want))
				}
			}
			der, err := x509.MarshalPKIXPublicKey(k.Public())
			check(t, err)
			check(t, os.WriteFile(filepath.Join(dir, "key"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644))
			_, err = run.Output(t.Context(), run.Cmd{
				Program: "openssl", Args: []string{"dgst", "-sha256", "-verify", "key", "-signature", "signature", "body"},
				Dir: dir, Env: run.HostEnv("PATH"),
			})
			check(t, err)
			if test.bits == 2048 && signaturesSize(k.Public()) != 264 { // as update_engine's own generator has it
				t.Errorf("signatures have %d B", signaturesSize(k.Public()))
			}
		})
	}
}

func TestReadsBackWhatItWrote(t *testing.T) {
	k := newKey(t, 2048)
	image, kernel := mixed(), text(2*chunkSize+1)
	payload := write(t, compressing(t, 2), k, image, kernel)
	p, err := Read(bytes.NewReader(payload), int64(len(payload)))
	check(t, err)
	check(t, p.VerifySignature(t.Context(), k.Public()))
	var gotImage, gotKernel bytes.Buffer
	check(t, p.Extract(t.Context(), &gotImage, &gotKernel))
	if !bytes.Equal(gotImage.Bytes(), image) || !bytes.Equal(gotKernel.Bytes(), kernel) {
		t.Error("something else came back")
	}
	if len(payload) > 6*chunkSize {
		t.Errorf("payload has %d B of %d B", len(payload), len(image)+len(kernel))
	}
	if err := p.VerifySignature(t.Context(), newKey(t, 2048).Public()); err == nil || !strings.Contains(err.Error(), "bad signature") {
		t.Errorf("with another key: %v", err)
	}
}

func TestSameBytesWhateverTheOrder(t *testing.T) {
	k := newKey(t, 2048)
	image := bytes.Join([][]byte{mixed(), mixed(), mixed()[:chunkSize]}, nil)
	one, four := write(t, compressing(t, 1), k, image, nil), write(t, compressing(t, 4), k, image, nil)
	if !bytes.Equal(one, four) {
		t.Error("one and four jobs give different bytes")
	}
}

func TestWhatCannotBeWritten(t *testing.T) {
	k := newKey(t, 2048)
	block := make([]byte, blockSize)
	for want, spoil := range map[string]func(*Writer) (image, kernel []byte){
		"image has 4097 B; wanted a multiple of 4096 B": func(*Writer) ([]byte, []byte) { return make([]byte, 4097), nil },
		"image has 0 B":   func(*Writer) ([]byte, []byte) { return nil, nil },
		"kernel is empty": func(*Writer) ([]byte, []byte) { return block, []byte{} },
		"the compressor left": func(w *Writer) ([]byte, []byte) {
			w.Compress = func(context.Context, [][]byte) ([][]byte, error) { return nil, errors.New("the compressor left") }
			return text(99 * blockSize), nil
		},
	} {
		w := stored(t)
		image, kernel := spoil(w)
		var second *Source
		if kernel != nil {
			s := source(kernel)
			second = &s
		}
		var out bytes.Buffer
		_, err := w.Write(t.Context(), &out, k.Public(), source(image), second)
		if err == nil || !strings.Contains(err.Error(), want) || out.Len() > 0 {
			t.Errorf("error is %v, %d B are written; want %q", err, out.Len(), want)
		}
		if left, err := os.ReadDir(w.Scratch); err != nil || len(left) > 0 {
			t.Errorf("%q: left are %v, %v", want, left, err)
		}
	}
	short := source(block)
	short.Size = 2 * blockSize
	if _, err := stored(t).Write(t.Context(), io.Discard, k.Public(), short, nil); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("of a source that ends early: %v", err)
	}
	_, _, err := stored(t).add(t.Context(), io.Discard, source(block), maxData-blockSize+1)
	if err == nil || !strings.Contains(err.Error(), "32 bits") {
		t.Errorf("data beyond 4 GiB: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := stored(t).Write(ended, io.Discard, k.Public(), source(mixed()), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of its context: %v", err)
	}
}

// pending has its private key elsewhere.
type pending struct{ key }

var errPending = errors.New("not there yet")

func (pending) Sign(context.Context, string, digest.SHA256) ([]byte, error) { return nil, errPending }

// short makes signatures for another key.
type short struct{ key }

func (short) Sign(context.Context, string, digest.SHA256) ([]byte, error) {
	return make([]byte, 128), nil
}

func TestSignaturesThatAreNot(t *testing.T) {
	k := newKey(t, 2048)
	if _, err := Signatures(t.Context(), pending{k}, "it", digest.SHA256{}); !errors.Is(err, errPending) {
		t.Errorf("error is %v", err)
	}
	_, err := Signatures(t.Context(), short{k}, "it", digest.SHA256{})
	if diff := cmp.Diff("signature of it has 128 B; wanted 256 B, as the key has", err.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestVerifyFile(t *testing.T) {
	k := newKey(t, 2048)
	dir := t.TempDir()
	update, extension := filepath.Join(dir, "flatcar_production_update.gz"), filepath.Join(dir, "oem-test.gz")
	image, kernel := text(2*chunkSize), text(777)
	check(t, os.WriteFile(update, write(t, stored(t), k, image, kernel), 0o644))
	check(t, os.WriteFile(extension, write(t, stored(t), k, image, nil), 0o644))
	var out bytes.Buffer
	check(t, VerifyFile(t.Context(), update, k.Public(), dir, &out))
	check(t, VerifyFile(t.Context(), extension, nil, dir, &out))
	check(t, VerifyFile(t.Context(), extension, nil, "", &out))
	for file, want := range map[string][]byte{
		"flatcar_production_update.bin": image, "flatcar_production_update.vmlinuz": kernel, "oem-test.raw": image,
	} {
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d B, %v", file, len(got), err)
		}
	}
	for _, want := range []string{digest.Of(image).String(), digest.Of(kernel).String(), "signed  by the given key", "not checked"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in: %s", want, &out)
		}
	}
	// One changed byte of the kernel, and nothing of it appears.
	content, err := os.ReadFile(update)
	check(t, err)
	content[len(content)-300] ^= 1
	broken := filepath.Join(dir, "broken.gz")
	check(t, os.WriteFile(broken, content, 0o644))
	if err := VerifyFile(t.Context(), broken, nil, dir, &out); err == nil || !strings.Contains(err.Error(), "kernel operation 0") {
		t.Errorf("error is %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*broken.[bv]*")); len(left) > 0 {
		t.Errorf("there is %v", left)
	}
}
