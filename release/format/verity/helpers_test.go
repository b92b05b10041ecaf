package verity

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

var (
	testSalt = []byte("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10" +
		"\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x20")
	testUUID = [16]byte{0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55}
)

// veritysetupFormat makes the hash area with the real tool, on files that may be the same one.
func veritysetupFormat(tb testing.TB, data, hash string, p Params, options ...string) digest.SHA256 {
	tb.Helper()
	salt := fmt.Sprintf("%x", p.Salt)
	if salt == "" {
		salt = "-" // an empty option would mean a random salt
	}
	u := p.UUID
	out := veritysetup(tb, append([]string{
		"format", "--salt=" + salt, fmt.Sprintf("--uuid=%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]),
		fmt.Sprintf("--data-blocks=%d", p.DataBlocks), data, hash,
	}, options...))
	found := regexp.MustCompile(`(?m)^Root hash:\s+([0-9a-f]{64})$`).FindStringSubmatch(out)
	if found == nil {
		tb.Fatalf("no root hash in:\n%s", out)
	}
	root, err := digest.Parse(found[1])
	check(tb, err)
	return root
}

func veritysetup(tb testing.TB, args []string) string {
	tb.Helper()
	out, err := run.Output(tb.Context(), run.Cmd{Program: "veritysetup", Args: args, Env: run.HostEnv("PATH")})
	check(tb, err)
	return string(out)
}

func veritysetupVerify(tb testing.TB, data, hash string, offset int64, root digest.SHA256) error {
	return run.Run(tb.Context(), run.Cmd{
		Program: "veritysetup",
		Args:    []string{"verify", fmt.Sprintf("--hash-offset=%d", offset), data, hash, root.String()},
		Env:     run.HostEnv("PATH"),
	})
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func openFile(tb testing.TB, path string) *os.File {
	tb.Helper()
	f, err := os.Open(path)
	check(tb, err)
	tb.Cleanup(func() { check(tb, f.Close()) })
	return f
}

func writeFile(tb testing.TB, path string, fill func(*os.File)) {
	tb.Helper()
	f, err := os.Create(path)
	check(tb, err)
	fill(f)
	check(tb, f.Close())
}

func fill(random *rand.ChaCha8, b []byte) { _, _ = random.Read(b) } // never fails

// randomData has some blocks of zeros, as file systems do.
func randomData(random *rand.ChaCha8, blocks uint64) []byte {
	data := make([]byte, blocks*BlockSize)
	for block := range slices.Chunk(data, BlockSize) {
		if random.Uint64()%8 != 0 {
			fill(random, block)
		}
	}
	return data
}

// format makes the hash area in the file at path and checks that it is as long as HashSize says.
func format(tb testing.TB, data io.ReaderAt, path string, offset int64, p Params) digest.SHA256 {
	tb.Helper()
	hash, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	check(tb, err)
	root, err := Format(tb.Context(), data, hash, offset, p)
	check(tb, err)
	info, err := hash.Stat()
	check(tb, err)
	if want := offset + int64(HashSize(p.DataBlocks)); info.Size() != want {
		tb.Errorf("hash area ends at byte %d; wanted %d", info.Size(), want)
	}
	check(tb, hash.Close())
	return root
}

func inTempDir(t *testing.T, name string) string { return filepath.Join(t.TempDir(), name) }

// sameArea compares the hash area in ours with the hash file theirs, which has it at byte 0.
func sameArea(t *testing.T, ours string, offset int64, theirs string, p Params) {
	t.Helper()
	length := int64(HashSize(p.DataBlocks))
	got := io.NewSectionReader(openFile(t, ours), offset, length)
	want := io.NewSectionReader(openFile(t, theirs), 0, length)
	gotDigest, gotSize, err := digest.OfReader(got)
	check(t, err)
	wantDigest, wantSize, err := digest.OfReader(want)
	check(t, err)
	if gotDigest != wantDigest || gotSize != wantSize {
		t.Errorf("hash area differs from veritysetup's: %d B, %v; wanted %d B, %v", gotSize, gotDigest, wantSize, wantDigest)
	}
}

func writeAt(path string, b []byte, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, at)
	return errors.Join(err, f.Close())
}

// flipByte changes one byte of a file; a second time undoes it.
func flipByte(t *testing.T, path string, at int64) {
	t.Helper()
	b := make([]byte, 1)
	_, err := openFile(t, path).ReadAt(b, at)
	check(t, err)
	b[0] ^= 1
	check(t, writeAt(path, b, at))
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("got the error %v\nwanted        %s", err, want)
	}
}

// wantCorrupt compares all but the reason, which has digests in it.
func wantCorrupt(t *testing.T, err error, want CorruptError) {
	t.Helper()
	var got *CorruptError
	if !errors.As(err, &got) {
		t.Fatalf("got %v; wanted a CorruptError", err)
	}
	if diff := cmp.Diff(want, *got, cmpopts.IgnoreFields(CorruptError{}, "Reason")); diff != "" {
		t.Errorf("bad block (-want +got):\n%s", diff)
	}
}
