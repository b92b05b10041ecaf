package ddi

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/format/gpt"
	"github.com/flatcar/oem-sysext/release/format/sign"
)

// made is a signed image of a real file system, with what it was made from.
type made struct {
	dir, data, path string
	root            digest.SHA256
	signer          *sign.Signer
	tools           *toolroot.Root
}

// newImage makes a file system with the real mkfs.erofs and signs it with a key that openssl can read, too.
func newImage(t *testing.T) made {
	t.Helper()
	m := made{dir: t.TempDir(), tools: toolroottest.Judges(t)}
	tree := filepath.Join(m.dir, "tree")
	check(t, os.MkdirAll(filepath.Join(tree, "usr/lib/extension-release.d"), 0o755))
	check(t, os.WriteFile(filepath.Join(tree, "usr/lib/extension-release.d/extension-release.hello"), []byte("ID=flatcar\nSYSEXT_LEVEL=1.0\n"), 0o644))
	large := make([]byte, 300_000)                 // as long as makes systemd-repart reserve more than it then needs
	_, _ = rand.NewChaCha8([32]byte{}).Read(large) // never fails
	check(t, os.WriteFile(filepath.Join(tree, "usr/large"), large, 0o644))
	m.data = filepath.Join(m.dir, "data")
	check(t, m.tools.Run(t.Context(), toolroot.Cmd{
		Program: "mkfs.erofs", Args: []string{"-Eforce-inode-compact", "-T1", "-U11111111-2222-3333-4444-555555555555", m.data, tree}, Write: []string{m.dir},
	}))
	m.signer = newSigner(t)
	m.path = filepath.Join(m.dir, "hello.raw")
	m.root = m.write(t, m.path)
	return m
}

func (m made) write(t *testing.T, path string) digest.SHA256 {
	t.Helper()
	root, err := Write(t.Context(), path, m.image(t), m.signer)
	check(t, err)
	return root
}

func (m made) image(t *testing.T) Image {
	t.Helper()
	f := open(t, m.data)
	d, n, err := digest.OfReader(io.NewSectionReader(f, 0, 1<<40))
	check(t, err)
	return Image{Name: "hello.raw", Data: f, Size: n, SHA256: d, Arch: arch.AMD64}
}

// TestLikeRepart compares with what systemd-repart makes of the same tree and key, partition by partition.
func TestLikeRepart(t *testing.T) {
	m := newImage(t)
	theirs := filepath.Join(m.dir, "theirs.raw")
	check(t, m.tools.Run(t.Context(), toolroot.Cmd{
		Program: "systemd-repart",
		Args: []string{"--make-ddi=sysext", "--offline=yes", "--copy-source=" + filepath.Join(m.dir, "tree"),
			"--private-key=" + keyFile(m.signer, m.dir, t), "--certificate=" + certificateFile(m.signer, m.dir, t), theirs},
		Env:   []string{"TMPDIR=/tmp"},
		Write: []string{m.dir},
	}))
	type partition struct {
		Number     int
		Type       gpt.GUID
		Attributes uint64
		Name       string
		Aligned    bool   // follows the one before on the next block
		IDOfRoot   string // which half of the root hash its identifier is
	}
	type image struct {
		MBR        []byte
		Partitions []partition
		JSON       []string // keys, in order
		PKCS7      envelope
		TableEnd   int64 // what is behind the last partition, in bytes
	}
	describe := func(path string) (i image) {
		f := open(t, path)
		info, err := f.Stat()
		check(t, err)
		disk, err := Read(f, info.Size())
		check(t, err)
		check(t, disk.Verify(t.Context(), []*x509.Certificate{m.signer.Certificate()}))
		i.MBR = make([]byte, 512)
		_, err = f.ReadAt(i.MBR, 0)
		check(t, err)
		copy(i.MBR[446+12:], make([]byte, 4)) // the disk's length
		next := uint64(40)
		for _, p := range disk.parts {
			half := ""
			switch p.ID {
			case gpt.GUID(disk.RootHash[:16]):
				half = "first"
			case gpt.GUID(disk.RootHash[16:]):
				half = "second"
			}
			i.Partitions = append(i.Partitions, partition{p.Number, p.Type, p.Attributes, p.Name, p.First == next, half})
			next = p.Last + 1
		}
		i.TableEnd = info.Size() - int64(next)*512
		i.TableEnd -= i.TableEnd % 4096 // to the next block
		content := make([]byte, disk.parts[2].Size())
		_, err = f.ReadAt(content, disk.parts[2].Offset())
		check(t, err)
		i.JSON = keys(t, bytes.TrimRight(content, "\x00"))
		i.PKCS7, err = parsePKCS7(disk.record.Signature)
		check(t, err)
		if len(content) != 16<<10 || disk.record.Certificate != digest.Of(m.signer.Certificate().Raw) {
			t.Errorf("%s: %d B, certificate %v; wanted 16 KiB and our certificate", path, len(content), disk.record.Certificate)
		}
		i.PKCS7.Signature = nil // over another root hash, since salts differ
		return i
	}
	if diff := cmp.Diff(describe(theirs), describe(m.path), cmp.AllowUnexported(envelope{}), cmp.Comparer(func(a, b interface{ String() string }) bool { return a.String() == b.String() })); diff != "" {
		t.Errorf("systemd-repart's image (-) and ours (+):\n%s", diff)
	}
	// Its data partition is larger than the file system, and what is behind that must stay empty.
	stuffed := readFile(t, theirs)
	table, err := gpt.Read(bytes.NewReader(stuffed), int64(len(stuffed)))
	check(t, err)
	stuffed[table.Partitions()[1].Offset()-1] = 1
	if err := verify(stuffed, m.signer.Certificate()); err == nil || !strings.Contains(err.Error(), "data partition: not all of bytes") {
		t.Errorf("data behind the hashed blocks: got %v", err)
	}
	// The whole envelope is the same but for the signature in it.
	ours, err := encodePKCS7(m.signer.Certificate(), make([]byte, 256))
	check(t, err)
	f := open(t, theirs)
	info, err := f.Stat()
	check(t, err)
	disk, err := Read(f, info.Size())
	check(t, err)
	theirDER := slices.Clone(disk.record.Signature)
	clear(theirDER[len(theirDER)-256:])
	if !bytes.Equal(theirDER, ours) {
		t.Errorf("systemd-repart's PKCS #7 is\n%x\nours is\n%x", theirDER, ours)
	}
}

// TestJudges lets openssl, veritysetup, sgdisk and systemd-dissect look at an image.
func TestJudges(t *testing.T) {
	needs.Programs(t, "openssl", "veritysetup", "bwrap")
	m := newImage(t)
	f := open(t, m.path)
	info, err := f.Stat()
	check(t, err)
	disk, err := Read(f, info.Size())
	check(t, err)

	file := func(name string, content []byte) string {
		path := filepath.Join(m.dir, name)
		check(t, os.WriteFile(path, content, 0o600))
		return path
	}
	der, text := file("der", disk.record.Signature), file("text", []byte(m.root.String()))
	certificate := certificateFile(m.signer, m.dir, t)
	for _, command := range [][]string{
		{"cms", "-verify", "-binary", "-inform", "der", "-in", der, "-content", text, "-certfile", certificate, "-CAfile", certificate, "-purpose", "any", "-no_check_time"},
		{"smime", "-verify", "-binary", "-inform", "der", "-in", der, "-content", text, "-nointern", "-noverify", "-certfile", certificate},
	} {
		check(t, tool(t, "openssl", command...))
		wrong := slices.Clone(command)
		wrong[slices.Index(wrong, text)] = der
		if tool(t, "openssl", wrong...) == nil {
			t.Errorf("openssl %s accepts another content", command[0])
		}
	}

	part := func(i int) string {
		content := make([]byte, disk.parts[i].Size())
		_, err := f.ReadAt(content, disk.parts[i].Offset())
		check(t, err)
		return file(fmt.Sprintf("part%d", i), content)
	}
	check(t, tool(t, "veritysetup", "verify", part(0), part(1), m.root.String()))
	if !bytes.Equal(readFile(t, part(0)), readFile(t, m.data)) {
		t.Error("the data partition is not the file system")
	}

	check(t, m.tools.Run(t.Context(), toolroot.Cmd{Program: "sgdisk", Args: []string{"--verify", m.path}, Read: []string{m.path}}))
	check(t, m.tools.Run(t.Context(), toolroot.Cmd{
		Program: "systemd-dissect", Args: []string{"--validate", "--image-policy=root=signed", m.path}, Read: []string{m.path},
	}))
	var dissected struct {
		Architecture string
		Mounts       []struct{ Designator, Fstype, Verity string }
	}
	check(t, json.Unmarshal(dissect(t, m), &dissected))
	want := []struct{ Designator, Fstype, Verity string }{
		{"root", "erofs", "signed"}, {"root-verity", "DM_verity_hash", ""}, {"root-verity-sig", "verity_hash_signature", ""},
	}
	if diff := cmp.Diff(want, dissected.Mounts); diff != "" || dissected.Architecture != "x86-64" {
		t.Errorf("systemd-dissect: %s, partitions (-want +got):\n%s", dissected.Architecture, diff)
	}
}

func TestSameInputSameBytes(t *testing.T) {
	m := newImage(t)
	again := filepath.Join(m.dir, "again.raw")
	if root := m.write(t, again); root != m.root || !bytes.Equal(readFile(t, again), readFile(t, m.path)) {
		t.Error("the same input gives other bytes")
	}
	m.signer = newSigner(t)
	if root := m.write(t, again); root != m.root {
		t.Error("the root hash depends on the key")
	}
}

// TestFlippedBits flips one bit in each part, and the validator says where.
func TestFlippedBits(t *testing.T) {
	m := newImage(t)
	whole := readFile(t, m.path)
	disk, err := Read(bytes.NewReader(whole), int64(len(whole)))
	check(t, err)
	at := func(part int, offset int64) int64 { return disk.parts[part].Offset() + offset }
	for _, test := range []struct {
		at   int64
		want string
	}{
		{0, "protective MBR: byte 0"},
		{446 + 4, "protective MBR: byte 450"},
		{512 + 56, "the primary partition table is damaged"},
		{1024 + 40, "the primary partition table is damaged"},
		{int64(len(whole)) - 512, "the backup partition table is damaged"},
		{int64(len(whole)) - 33*512, "the backup partition table is damaged"},
		{at(0, 0), "data partition: data block 0"},
		{at(0, 1025), "data partition: data block 0"},
		{at(0, disk.parts[0].Size()-1), fmt.Sprintf("data partition: data block %d", disk.parts[0].Size()/4096-1)},
		{at(1, 0), "hash partition: superblock byte 0"},
		{at(1, 88), "hash partition: hash block 0"}, // the salt
		{at(1, 4095), "hash partition: not all of bytes 512 to 4095 is zero"},
		{at(1, 4096), "hash partition: hash block 0"},
		{at(2, 2), "signature partition: has no rootHash"},
		{at(2, 20), "identifier"},
		{at(2, 4096), "signature partition: byte 4096 behind the JSON"},
		{at(2, disk.parts[2].Size()-1), "signature partition: byte 16383 behind the JSON"},
	} {
		changed := slices.Clone(whole)
		changed[test.at] ^= 1
		err := verify(changed, m.signer.Certificate())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("byte %d: got the error %v\nwanted one with %s", test.at, err, test.want)
		}
	}
}

// TestWrongSignatures keeps all else in order.
func TestWrongSignatures(t *testing.T) {
	m := newImage(t)
	whole := readFile(t, m.path)
	disk, err := Read(bytes.NewReader(whole), int64(len(whole)))
	check(t, err)
	certificate := m.signer.Certificate()
	with := func(change func(*record)) []byte {
		changed, r := slices.Clone(whole), disk.record
		r.Signature = slices.Clone(r.Signature)
		change(&r)
		encoded, err := json.Marshal(r)
		check(t, err)
		part := changed[disk.parts[2].Offset():][:disk.parts[2].Size()]
		clear(part)
		copy(part, encoded)
		return changed
	}
	other, err := newSigner(t).Sign(t.Context(), "other", signedText(m.root))
	check(t, err)
	for name, test := range map[string]struct {
		content []byte
		trusted []*x509.Certificate
		want    string
	}{
		"nobody is trusted":   {whole, nil, "not one of the 0 trusted ones"},
		"another certificate": {whole, []*x509.Certificate{newSigner(t).Certificate()}, "not one of the 1 trusted ones"},
		"another key": {with(func(r *record) { r.Signature, _ = encodePKCS7(certificate, other) }),
			[]*x509.Certificate{certificate}, "for sha256 " + signedText(m.root).String()},
		"attached":   {with(func(r *record) { r.Signature = attached(t, r.Signature) }), []*x509.Certificate{certificate}, "has more than a detached signature"},
		"no PKCS #7": {with(func(r *record) { r.Signature = []byte("no") }), []*x509.Certificate{certificate}, "PKCS #7: asn1"},
	} {
		t.Run(name, func(t *testing.T) {
			err := verify(test.content, test.trusted...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got the error %v\nwanted one with   %s", err, test.want)
			}
		})
	}
}

// attached puts the content into an envelope, where nothing may be.
func attached(t *testing.T, der []byte) []byte {
	t.Helper()
	oid := []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01}
	at := bytes.LastIndex(der, append([]byte{0x30, 0x0b}, oid...))
	content := []byte{0xa0, 0x03, 0x04, 0x01, 'x'}
	changed := slices.Concat(der[:at], []byte{0x30, byte(0x0b + len(content))}, oid, content, der[at+13:])
	for _, length := range []int{2, 17, 21} { // the three sequences around it, each with a length of two bytes
		n := int(changed[length])<<8 | int(changed[length+1])
		n += len(content)
		changed[length], changed[length+1] = byte(n>>8), byte(n)
	}
	return changed
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "image.raw")
	data := make([]byte, 8192)
	good := Image{Name: "x.raw", Data: bytes.NewReader(data), Size: 8192, SHA256: digest.Of(data), Arch: arch.AMD64}
	signer := newSigner(t)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx    context.Context
		change func(*Image)
		signer Signer
		want   string
	}{
		"size":           {t.Context(), func(i *Image) { i.Size = 8191 }, signer, "8191 B; wanted a multiple of 4096 B"},
		"nothing":        {t.Context(), func(i *Image) { i.Size = 0 }, signer, "0 B; wanted a multiple of 4096 B"},
		"short":          {t.Context(), func(i *Image) { i.Size = 12288 }, signer, "data ends after 8192 B"},
		"digest":         {t.Context(), func(i *Image) { i.SHA256[0] ^= 1 }, signer, "has the sha256"},
		"architecture":   {t.Context(), func(i *Image) { i.Arch = "riscv64" }, signer, `no partition type for "riscv64"`},
		"canceled":       {canceled, func(*Image) {}, signer, "canceled"},
		"no certificate": {t.Context(), func(*Image) {}, offline{}, "no certificate for the signing key"},
		"not yet signed": {t.Context(), func(*Image) {}, offline{signer.Certificate()}, "later"},
	} {
		t.Run(name, func(t *testing.T) {
			image := good
			test.change(&image)
			_, err := Write(test.ctx, path, image, test.signer)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got the error %v\nwanted one with   %s", err, test.want)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("it leaves %v", left)
			}
		})
	}
}

// offline is a signer whose key is elsewhere.
type offline struct{ certificate *x509.Certificate }

func (o offline) Certificate() *x509.Certificate { return o.certificate }
func (offline) Sign(context.Context, string, digest.SHA256) ([]byte, error) {
	return nil, errors.New("later")
}

// FuzzRecord feeds the reader of signature partitions, and of the PKCS #7 in them.
func FuzzRecord(f *testing.F) {
	signer := newSigner(f)
	content, err := makeRecord(f.Context(), "seed", digest.SHA256{1}, signer)
	check(f, err)
	f.Add(content[:4096])
	f.Add([]byte(`{"rootHash":"00","signature":"AAAA"}`))
	f.Add([]byte("{}\x00\x01"))
	r, err := parseRecord(content)
	check(f, err)
	f.Add(r.Signature)
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := parseRecord(content)
		if err != nil {
			r.Signature = content
		}
		signed, err := parsePKCS7(r.Signature)
		if err != nil {
			return
		}
		_ = signed.issuer()
		if err := signed.verify(signer.Certificate(), digest.SHA256{}); err == nil {
			t.Error("a signature that nobody made")
		}
	})
}

// FuzzRead changes an image anywhere but in its data.
func FuzzRead(f *testing.F) {
	data := make([]byte, 8192)
	signer := newSigner(f)
	path := filepath.Join(f.TempDir(), "image")
	_, err := Write(f.Context(), path, Image{"x", bytes.NewReader(data), 8192, digest.Of(data), arch.ARM64}, signer)
	check(f, err)
	whole, err := os.ReadFile(path)
	check(f, err)
	f.Add(uint16(512), []byte{0})
	f.Add(uint16(40*512+8192), []byte("verity"))
	f.Fuzz(func(t *testing.T, at uint16, change []byte) {
		changed := slices.Clone(whole)
		copy(changed[min(int(at), len(changed)):], change)
		if disk, err := Read(bytes.NewReader(changed), int64(len(changed))); err == nil {
			_ = disk.Verify(t.Context(), []*x509.Certificate{signer.Certificate()})
		}
	})
}

func verify(content []byte, trusted ...*x509.Certificate) error {
	disk, err := Read(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return err
	}
	return disk.Verify(context.Background(), trusted)
}

// dissect lets systemd-dissect attach the image to a loop device, which tool roots have none of.
func dissect(t *testing.T, m made) []byte {
	t.Helper()
	out, err := run.Output(t.Context(), run.Cmd{
		Program: "bwrap",
		Args: []string{"--ro-bind", m.tools.Path("usr"), "/usr", "--ro-bind", m.tools.Path("etc"), "/etc",
			"--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
			"--dev-bind", "/dev", "/dev", "--ro-bind", "/sys", "/sys", "--proc", "/proc", "--tmpfs", "/tmp", "--dir", "/run",
			"--bind", m.dir, m.dir, "systemd-dissect", "--json=short", "--image-policy=root=signed", m.path},
		Env: []string{"PATH=/usr/bin"},
	})
	check(t, err)
	return out
}

// keys returns the keys of a JSON object in their order.
func keys(t *testing.T, content []byte) (all []string) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(content))
	for i := 0; ; i++ {
		token, err := decoder.Token()
		if err != nil {
			return all
		}
		if key, isString := token.(string); isString && i%2 == 1 {
			all = append(all, key)
		}
	}
}

func tool(t *testing.T, program string, args ...string) error {
	t.Helper()
	return run.Run(t.Context(), run.Cmd{Program: program, Args: args, Env: run.HostEnv("PATH")})
}

func newSigner(t testing.TB) *sign.Signer {
	t.Helper()
	dir := t.TempDir()
	signer, err := sign.Open(sign.Files{Cache: dir})
	check(t, err)
	keyDirs[signer] = dir
	return signer
}

// keyDirs has where the keys of signers lie, which signers do not tell.
var keyDirs = map[*sign.Signer]string{}

func keyFile(s *sign.Signer, dir string, t *testing.T) string {
	t.Helper()
	path := filepath.Join(dir, "key.pem")
	check(t, os.WriteFile(path, readFile(t, filepath.Join(keyDirs[s], "development-key/key.pem")), 0o600))
	return path
}

func certificateFile(s *sign.Signer, dir string, t *testing.T) string {
	t.Helper()
	path := filepath.Join(dir, "certificate.pem")
	check(t, os.WriteFile(path, sign.EncodeCertificate(s.Certificate()), 0o600))
	return path
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	check(t, err)
	t.Cleanup(func() { check(t, f.Close()) })
	return f
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	check(t, err)
	return content
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
