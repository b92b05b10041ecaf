package payload

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/format/payload/changes"
)

// release is what a machine has of one.
type release struct{ image, kernel []byte }

func (r release) installed() Installed { return Installed{source(r.image), source(r.kernel)} }

// pair makes a release, and another one with some of its blocks elsewhere, others new, and another kernel.
func pair(seed uint64) (from, to release) {
	r := rand.New(rand.NewPCG(seed, 2))
	const blocks = 1500
	from = release{append(mixed()[:700*blockSize], random(800*blockSize, byte(seed))...), random(3*blockSize+r.IntN(blockSize), 1)}
	to = release{bytes.Clone(from.image), bytes.Clone(from.kernel)}
	run := func() (at, length int) { return r.IntN(blocks-400) * blockSize, (1 + r.IntN(400)) * blockSize }
	for range 1 + r.IntN(5) {
		at, n := run()
		other, _ := run()
		switch r.IntN(3) {
		case 0:
			copy(to.image[at:], random(n, byte(seed+1)))
		case 1:
			copy(to.image[at:at+n], to.image[other:])
		case 2: // a file grows, and shifts what follows
			copy(to.image[at+blockSize:], to.image[at:])
		}
	}
	to.image[r.IntN(len(to.image))]++
	copy(to.kernel[64:], "the root hash")
	if r.IntN(2) > 0 {
		to.kernel = append(to.kernel, random(r.IntN(3*blockSize), 9)...)
	}
	return from, to
}

func writeDelta(t testing.TB, w *Writer, k key, from, to release) []byte {
	t.Helper()
	var payload bytes.Buffer
	_, err := w.WriteDelta(t.Context(), &payload, k.Public(), from.installed(), to.installed())
	check(t, err)
	return sign(t, k, payload.Bytes())
}

// apply returns what a machine with the key makes of a delta.
func apply(t testing.TB, k key, delta []byte, from release) (to release, err error) {
	t.Helper()
	p, err := Read(bytes.NewReader(delta), int64(len(delta)))
	if err != nil {
		return release{}, err
	}
	if err := p.VerifySignature(t.Context(), k.Public()); err != nil {
		return release{}, err
	}
	return applied(t, p, from)
}

func applied(t testing.TB, p *Payload, from release) (to release, err error) {
	t.Helper()
	dir := t.TempDir()
	var files [2]*os.File
	for i, name := range []string{"image", "kernel"} {
		files[i], err = os.Create(filepath.Join(dir, name))
		check(t, err)
		defer files[i].Close()
	}
	if err := p.Apply(t.Context(), from.installed(), files[0], files[1]); err != nil {
		return release{}, err
	}
	to.image, err = os.ReadFile(files[0].Name())
	check(t, err)
	to.kernel, err = os.ReadFile(files[1].Name())
	check(t, err)
	return to, nil
}

func (r release) is(other release) bool {
	return bytes.Equal(r.image, other.image) && bytes.Equal(r.kernel, other.kernel)
}

func TestApplyMakesTheOtherRelease(t *testing.T) {
	k := newKey(t, 2048)
	for seed := range uint64(20) {
		from, to := pair(seed)
		got, err := apply(t, k, writeDelta(t, stored(t), k, from, to), from)
		if err != nil || !got.is(to) {
			t.Fatalf("seed %d: applied, it is not the release; error is %v", seed, err)
		}
	}
}

// TestDeltaIsSmall has a delta sent compressed, and only what is new.
func TestDeltaIsSmall(t *testing.T) {
	k := newKey(t, 2048)
	image := append(text(1<<20), random(2<<20, 1)...)
	from := release{image, random(1<<20, 2)}
	to := release{bytes.Join([][]byte{image[:1<<20], text(4 * blockSize), image[1<<20 : len(image)-4*blockSize]}, nil), bytes.Clone(from.kernel)}
	to.kernel[64] ^= 1
	delta := writeDelta(t, compressing(t, 2), k, from, to)
	if limit := 3 * blockSize; len(delta) > limit { // one block of the kernel does not shrink
		t.Errorf("a delta of what moved by 4 blocks, behind 4 blocks of text, has %d B; wanted at most %d B", len(delta), limit)
	}
	got, err := apply(t, k, delta, from)
	if err != nil || !got.is(to) {
		t.Errorf("applied, it is not the release; error is %v", err)
	}
	if again := writeDelta(t, compressing(t, 4), k, from, to); !bytes.Equal(again, delta) {
		t.Error("two and four jobs give different bytes")
	}
}

// TestOthersApplyDeltas lets Python apply deltas as clients do.
func TestOthersApplyDeltas(t *testing.T) {
	judge := toolroottest.Judges(t)
	k := newKey(t, 2048)
	for seed := range uint64(4) {
		from, to := pair(seed)
		dir := t.TempDir()
		at := func(name string) string { return filepath.Join(dir, name) }
		check(t, os.WriteFile(at("payload"), writeDelta(t, compressing(t, 2), k, from, to), 0o644))
		check(t, os.WriteFile(at("old-image"), from.image, 0o644))
		check(t, os.WriteFile(at("old-kernel"), from.kernel, 0o644))
		script, err := filepath.Abs("testdata/decode.py")
		check(t, err)
		check(t, judge.Run(t.Context(), toolroot.Cmd{
			Program: "python3", Args: []string{script, at("payload"), dir, at("old-image"), at("old-kernel")}, Read: []string{script}, Write: []string{dir},
		}))
		var got release
		got.image, err = os.ReadFile(at("image"))
		check(t, err)
		got.kernel, err = os.ReadFile(at("kernel"))
		check(t, err)
		if !got.is(to) {
			t.Errorf("seed %d: Python makes something else", seed)
		}
	}
}

// TestDamageIsRefused flips bits in the old release and in the delta, and cuts the delta.
func TestDamageIsRefused(t *testing.T) {
	k := newKey(t, 2048)
	from, to := pair(7)
	delta := writeDelta(t, stored(t), k, from, to)
	r := rand.New(rand.NewPCG(1, 1))
	flipped := func(content []byte) []byte {
		changed := bytes.Clone(content)
		changed[r.IntN(len(changed))] ^= 1 << r.IntN(8)
		return changed
	}
	refused := 0
	for range 100 {
		got, err := apply(t, k, delta, release{flipped(from.image), from.kernel})
		if err == nil && !got.is(to) {
			t.Fatal("a flipped bit in the old image: something else comes out")
		}
		if err != nil {
			refused++
		}
	}
	if refused < 20 {
		t.Errorf("of 100 flipped bits in the old image, %d are refused; the others must be in blocks that are replaced", refused)
	}
	for range 20 {
		if _, err := apply(t, k, delta, release{from.image, flipped(from.kernel)}); err == nil || !strings.Contains(err.Error(), "the old kernel has") {
			t.Fatalf("a flipped bit in the old kernel: error is %v", err)
		}
	}
	for range 200 {
		if _, err := apply(t, k, flipped(delta), from); err == nil {
			t.Fatal("a flipped bit in the delta is not refused")
		}
		if _, err := apply(t, k, delta[:r.IntN(len(delta))], from); err == nil {
			t.Fatal("a cut delta is not refused")
		}
	}
	for i := range 264 { // the signature
		changed := bytes.Clone(delta)
		changed[len(changed)-1-i] ^= 1
		if _, err := apply(t, k, changed, from); err == nil {
			t.Fatalf("a flipped bit in byte %d of the signatures, from the end, is not refused", i)
		}
	}
	if _, err := apply(t, newKey(t, 2048), delta, from); err == nil || !strings.Contains(err.Error(), "bad signature") {
		t.Errorf("with another key: error is %v", err)
	}
}

// spoiledDelta makes a delta with one move, two replaced runs and a kernel, whose manifest was changed on the way.
func spoiledDelta(t *testing.T, change func(m *manifest)) ([]byte, release) {
	t.Helper()
	image := random(40*blockSize, 1)
	from := release{image, random(3*blockSize+100, 2)}
	to := release{bytes.Clone(image), bytes.Clone(from.kernel)}
	copy(to.image[20*blockSize:], image[:10*blockSize])
	copy(to.image[35*blockSize:], random(blockSize, 3))
	copy(to.image[37*blockSize:], random(blockSize, 4))
	to.kernel[len(to.kernel)-1] ^= 1
	var data bytes.Buffer
	m, err := stored(t).writeChanges(t.Context(), &data, from.installed(), to.installed())
	check(t, err)
	m.signatures.length = 264
	m.noops = m.wantedNoops()
	change(m)
	encoded := m.encode()
	return bytes.Join([][]byte{header(len(encoded)), encoded, data.Bytes(), make([]byte, 264)}, nil), from
}

func TestDeltasThatAreRefused(t *testing.T) {
	readApplied := func(change func(m *manifest)) error {
		delta, from := spoiledDelta(t, change)
		p, err := Read(bytes.NewReader(delta), int64(len(delta)))
		if err == nil {
			err = p.checkData(t.Context())
		}
		if err == nil {
			_, err = applied(t, p, from)
		}
		return err
	}
	if err := readApplied(func(*manifest) {}); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	for want, change := range map[string]func(m *manifest){
		"operation 0: an extent has 41 blocks from 0 on; wanted some of 40": func(m *manifest) { m.partition[0].from[0].Blocks = 41 },
		"an extent has 10 blocks from 31 on":                                func(m *manifest) { m.partition[0].to[0].Start = 31 },
		"an extent has 0 blocks from 0 on":                                  func(m *manifest) { m.partition[0].from[0].Blocks = 0 },
		"from 18446744073709551615 on":                                      func(m *manifest) { m.partition[0].from[0].Start = hole },
		"it moves 9 blocks to 10 blocks":                                    func(m *manifest) { m.partition[0].from[0].Blocks = 9 },
		"operation 1: block 20 is written already":                          func(m *manifest) { m.partition[1].to[0].Start = 20 },
		"operation 1: it writes block 37 twice":                             func(m *manifest) { m.partition[1].to[0].Start = 37 },
		"operation 1: block 25 is written already": func(m *manifest) {
			again := m.partition[0]
			again.from, again.to = []changes.Run{{Start: 25, Blocks: 1}}, []changes.Run{{Start: 0, Blocks: 1}}
			m.partition = append(m.partition[:1:1], append([]operation{again}, m.partition[1:]...)...)
		},
		"operation 1: data_offset is 1; wanted 0":     func(m *manifest) { m.partition[1].data.offset = 1 },
		"operation 1: no data_sha256_hash":            func(m *manifest) { m.partition[1].sha256 = nil },
		"data_length is 8192 B; wanted the 4096 B":    func(m *manifest) { m.partition[1].to = m.partition[1].to[:1] },
		"operation 1: data has sha256":                func(m *manifest) { m.partition[1].sha256 = make([]byte, 32) },
		"operation 1: bzip2 data invalid":             func(m *manifest) { m.partition[1].kind = replaceBzip2 },
		"partition operations give sha256":            func(m *manifest) { m.partition[0].from[0].Start = 1 },
		"kernel operations give sha256":               func(m *manifest) { m.procedures[0].content.SHA256[0] ^= 1 },
		"the old kernel has 12388 B":                  func(m *manifest) { m.procedures[0].old.SHA256[0] ^= 1 },
		"kernel operation 0: the last block is not":   func(m *manifest) { lastFirst(&m.procedures[0].operations[0]) },
		"kernel operation 0: a MOVE in 12388 B":       func(m *manifest) { toMove(&m.procedures[0].operations[0]) },
		"partition operation 0: a MOVE, or more than": func(m *manifest) { m.procedures[0].old = Content{} },
		"the old partition has 163840 B; wanted":      func(m *manifest) { m.newPartition.Size += blockSize },
		"there are 0 noop operations; wanted 2":       func(m *manifest) { m.noops = nil },
	} {
		if err := readApplied(change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
	}
}

// lastFirst has an operation of the kernel's last block write another one behind it.
func lastFirst(o *operation) {
	o.kind, o.to = replaceBzip2, append(o.to, changes.Run{Start: 0, Blocks: 1})
}

func toMove(o *operation) {
	o.kind, o.from, o.data, o.sha256 = move, []changes.Run{{Start: 0, Blocks: 1}}, span{}, nil
}

func TestReleasesWithoutADelta(t *testing.T) {
	good := release{make([]byte, blockSize), []byte("kernel")}
	for want, pair := range map[string][2]release{
		"old and new image have 8192 B and 4096 B": {{make([]byte, 2*blockSize), good.kernel}, good},
		"old and new image have 5 B and 5 B":       {{make([]byte, 5), good.kernel}, {make([]byte, 5), good.kernel}},
		"a kernel is empty":                        {good, {good.image, nil}},
	} {
		_, err := stored(t).WriteDelta(t.Context(), io.Discard, newKey(t, 2048).Public(), pair[0].installed(), pair[1].installed())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
	}
}

func TestApplyFile(t *testing.T) {
	k := newKey(t, 2048)
	from, to := pair(3)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	old, made := Files{at("usr.bin"), at("vmlinuz")}, Files{at("new.bin"), at("new-vmlinuz")}
	longer := append(bytes.Clone(from.image), random(blockSize, 5)...) // as a machine's partition may be
	check(t, os.WriteFile(old.Image, longer, 0o644))
	check(t, os.WriteFile(old.Kernel, from.kernel, 0o644))
	check(t, os.WriteFile(at("update.gz"), writeDelta(t, stored(t), k, from, to), 0o644))
	check(t, os.WriteFile(at("full.gz"), write(t, stored(t), k, to.image, to.kernel), 0o644))
	var out bytes.Buffer
	check(t, VerifyFile(t.Context(), at("update.gz"), k.Public(), "", &out))
	if !strings.Contains(out.String(), fmt.Sprintf("image   %d B", len(to.image))) || !strings.Contains(out.String(), "blocks of the image are moved") {
		t.Errorf("printed: %s", &out)
	}
	check(t, ApplyFile(t.Context(), at("update.gz"), k.Public(), old, made, io.Discard))
	image, err := os.ReadFile(made.Image)
	check(t, err)
	kernel, err := os.ReadFile(made.Kernel)
	check(t, err)
	if !(release{image, kernel}).is(to) {
		t.Error("something else is written")
	}
	for want, run := range map[string]func() error{
		"payload:apply makes the new one": func() error { return VerifyFile(context.Background(), at("update.gz"), nil, dir, io.Discard) },
		"this is a full update":           func() error { return ApplyFile(context.Background(), at("full.gz"), nil, old, made, io.Discard) },
		"no such file": func() error {
			return ApplyFile(context.Background(), at("update.gz"), nil, Files{old.Image, at("none")}, made, io.Discard)
		},
	} {
		if err := run(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
	}
}

func FuzzApply(f *testing.F) {
	k := newKey(f, 2048)
	from := release{random(6*blockSize, 1), text(100)}
	to := release{append(from.image[:4096:4096], from.image[:5*blockSize]...), text(120)} // all but a block moves by one
	f.Add(writeDelta(f, stored(f), k, from, to))
	f.Fuzz(func(t *testing.T, delta []byte) {
		p, err := Read(bytes.NewReader(delta), int64(len(delta)))
		if err != nil || p.Image.Size+p.Kernel.Size > 1<<20 {
			return
		}
		_ = p.checkData(t.Context()) // may fail, and must not crash
		if got, err := applied(t, p, from); err == nil && (len(got.image) != int(p.Image.Size) || len(got.kernel) != int(p.Kernel.Size)) {
			t.Errorf("image of %d B and kernel of %d B; the manifest says %d B and %d B", len(got.image), len(got.kernel), p.Image.Size, p.Kernel.Size)
		}
	})
}
