package esp

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
)

// partition makes an empty partition of 16 MiB.
func partition(t *testing.T) Partition {
	t.Helper()
	p := Partition{Tools: toolroottest.Open(t), Disk: filepath.Join(t.TempDir(), "efi.img")}
	if err := errors.Join(os.WriteFile(p.Disk, nil, 0o600), os.Truncate(p.Disk, int64(16*size.MiB))); err != nil {
		t.Fatal(err)
	}
	if err := p.Tools.Run(t.Context(), toolroot.Cmd{Program: "mkfs.fat", Args: []string{"-F", "16", p.Disk}, Write: []string{p.Disk}}); err != nil {
		t.Fatal(err)
	}
	if err := p.MakeDir(t.Context(), "/flatcar"); err != nil {
		t.Fatal(err)
	}
	return p
}

// kernel makes a file of random bytes.
func kernel(t *testing.T, length size.Bytes) string {
	t.Helper()
	content := make([]byte, length)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func free(t *testing.T, p Partition) size.Bytes {
	t.Helper()
	_, free, err := p.capacity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return free
}

// TestRoom refuses what does not fit before anything is written, and says what takes the room.
func TestRoom(t *testing.T) {
	p := partition(t)
	for name, length := range map[string]size.Bytes{"/flatcar/vmlinuz-a": 6 * size.MiB, "/flatcar/vmlinuz-b": 5 * size.MiB, "/junk.bin": 2 * size.MiB} {
		if err := p.Write(t.Context(), kernel(t, length), name); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.ReadFile(p.Disk)
	if err != nil {
		t.Fatal(err)
	}
	var full *FullError
	err = p.Write(t.Context(), kernel(t, 9*size.MiB), "/flatcar/vmlinuz-b")
	if !errors.As(err, &full) || full.Need != 9*size.MiB || full.Free < 7*size.MiB || full.Free > 8*size.MiB {
		t.Fatalf("error is %v", err)
	}
	for _, part := range []string{"/flatcar/vmlinuz-b needs 9.0 MiB, 7.", "short); /flatcar/vmlinuz-a takes 6.0 MiB, /junk.bin takes 2.0 MiB; remove what is not needed"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no %q in %v", part, err)
		}
	}
	if after, err := os.ReadFile(p.Disk); err != nil || !bytes.Equal(before, after) {
		t.Errorf("something was written, %v", err)
	}
	if err := p.Write(t.Context(), kernel(t, full.Free), "/flatcar/VMLINUZ-B"); err != nil {
		t.Errorf("what fits exactly in place of the old one: %v", err)
	}
	if left := free(t, p); left != 0 {
		t.Errorf("%v are free", left)
	}
	if err := p.Write(t.Context(), kernel(t, 1), "/one"); err == nil || !strings.Contains(err.Error(), "/one needs 2.0 KiB, 0 B is free") {
		t.Errorf("error is %v", err)
	}
}

// TestRepairFreesOrphans cuts a write off after its clusters were taken and before a name was given to them.
func TestRepairFreesOrphans(t *testing.T) {
	p := partition(t)
	all := free(t, p)
	for _, name := range []string{"/flatcar/vmlinuz-a", "/flatcar/vmlinuz-b"} {
		if err := p.Write(t.Context(), kernel(t, 3*size.MiB), name); err != nil {
			t.Fatal(err)
		}
	}
	old := kernel(t, 1*size.MiB)
	if err := p.Write(t.Context(), old, "/FSCK0000.REC"); err != nil { // somebody's
		t.Fatal(err)
	}
	content, err := os.ReadFile(p.Disk)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(content, []byte("VMLINU~2   "))
	if at < 0 || binary.LittleEndian.Uint32(content[at+28:]) == 0 {
		t.Fatal("the directory has no entry of the second kernel")
	}
	content[at], content[at-32] = 0xe5, 0xe5 // as deleted: the short name, and the long one before it
	if err := os.WriteFile(p.Disk, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Repair(t.Context(), p.Tools, p.Disk); err != nil {
		t.Fatal(err)
	}
	files, err := p.files(t.Context(), 2048)
	if err != nil || len(files) != 2 || files[0].Name != "/flatcar/vmlinuz-a" || files[1].Name != "/FSCK0000.REC" {
		t.Errorf("files are %v, %v", files, err)
	}
	if left := free(t, p); left != all-4*size.MiB {
		t.Errorf("%v of %v are free", left, all)
	}
	before, err := os.ReadFile(p.Disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := Repair(t.Context(), p.Tools, p.Disk); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(p.Disk); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a sound one was changed, %v", err)
	}
}
