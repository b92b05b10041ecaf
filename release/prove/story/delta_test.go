package story

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/payload"
	"github.com/flatcar/oem-sysext/release/format/sign"
)

// A delta gives the new release in the other slot, and is refused by a slot that is not as the old one. The assertion of that fails with a
// delta that writes all blocks, so that nothing of the slot counts.
func TestDeltaOfWhatRuns(t *testing.T) {
	usr, kernel := randomBytes(t, 1, 8<<20), randomBytes(t, 1, 100_000)
	from := installableOf(t, usr, kernel)
	usr, kernel = bytes.Clone(usr), bytes.Clone(kernel)
	copy(usr[5<<20:], randomBytes(t, 2, 1<<20))
	copy(kernel[50_000:], "another root hash")
	to := installableOf(t, usr, kernel)

	s := storyOf(t, from)
	delta := deltaOf(t, from, to)
	if err := s.refusesDelta(t.Context(), to, delta); err != nil {
		t.Fatal(err)
	}
	if len(s.machines) != 1 || s.machines[0].Failed() {
		t.Errorf("%+v", s.machines)
	}
	if err := s.installDelta(t.Context(), to, delta); err != nil {
		t.Fatal(err)
	}
	chosen, err := s.choose()
	if err != nil || chosen.Name != "B" {
		t.Fatalf("after the installation %+v is chosen, %v", chosen, err)
	}
	installed := make([]byte, len(usr))
	readAt(t, s.disk(), chosen.Partition.Offset(), installed)
	path, err := s.kernel(t.Context(), chosen)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, kernel) || !bytes.Equal(installed, usr) {
		t.Errorf("slot B does not have the release, %v", err)
	}

	other := installable(t, 3)
	s = storyOf(t, from)
	if err := s.refusesDelta(t.Context(), other, deltaOf(t, from, other)); err != nil {
		t.Fatal(err)
	}
	if len(s.machines) != 1 || !s.machines[0].Failed() || s.machines[0].Outcomes[0].Error != "it is installed" {
		t.Errorf("a delta that nobody refuses: %+v", s.machines)
	}
}

// deltaOf writes the payload that leads from one release to another, and its public key beside the latter.
func deltaOf(t *testing.T, from, to Installable) string {
	t.Helper()
	signer, err := sign.Open(sign.Files{Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	open := func(r Installable) payload.Installed {
		files, err := payload.Files{Image: r.Slot.Usr.Path, Kernel: r.Slot.Kernel.Path}.Open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(files.Close)
		return files.Installed
	}
	as := func(_ context.Context, chunks [][]byte) ([][]byte, error) { return chunks, nil } // random bytes do not get shorter
	var out bytes.Buffer
	w := payload.Writer{Compress: as, Scratch: t.TempDir(), Jobs: 1}
	if _, err := w.WriteDelta(t.Context(), &out, signer.Public(), open(from), open(to)); err != nil {
		t.Fatal(err)
	}
	signatures, err := payload.Signatures(t.Context(), signer, "delta", digest.Of(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	public, err := sign.EncodePublic(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "delta")
	for name, content := range map[string][]byte{path: append(out.Bytes(), signatures...), to.Path(manifest.UpdateKeyFile): public} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}
