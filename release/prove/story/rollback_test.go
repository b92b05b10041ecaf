package story

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/bases/slot"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/boot"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// installable is a release of random bytes.
func installable(t *testing.T, seed uint64) Installable {
	t.Helper()
	return installableOf(t, randomBytes(t, seed, 8<<20), randomBytes(t, seed, 100_000))
}

// installableOf is a release with these files.
func installableOf(t *testing.T, usr, kernel []byte) Installable {
	t.Helper()
	dir := t.TempDir()
	file := func(name string, content []byte) slot.File {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return slot.File{Path: path, Size: size.Bytes(len(content)), SHA256: digest.Of(content)}
	}
	return Installable{
		Release: proof.Release{Dir: dir},
		Slot:    slot.Release{Usr: file(manifest.PartitionFile, usr), Kernel: file(manifest.KernelFile, kernel)},
	}
}

func randomBytes(t *testing.T, seed uint64, length int) []byte {
	t.Helper()
	content := make([]byte, length)
	random := rand.NewChaCha8([32]byte{byte(seed)})
	if _, err := random.Read(content); err != nil {
		t.Fatal(err)
	}
	return content
}

// storyOf is the story of a machine that runs a release.
func storyOf(t *testing.T, r Installable) *story {
	t.Helper()
	needs.Root(t)
	needs.Programs(t, "bwrap")
	s := &story{
		Prover: &boot.Prover{Tools: toolroottest.Open(t), Log: slog.New(slog.DiscardHandler)}, dir: t.TempDir(),
		platform: &platform.Platform{ID: strictyaml.Text{Value: "x"}},
	}
	if err := s.makeDisk(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestInstallationIsCutOffInTheMiddle(t *testing.T) {
	to := installable(t, 2)
	s := storyOf(t, installable(t, 1))
	var said []string
	s.Watch = func(line string) { said = append(said, line) }
	if err := s.cutOff(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	if want := []string{"   The boot loader would choose slot A."}; !slices.Equal(said, want) {
		t.Errorf("said %q; wanted %q", said, want)
	}
	if len(s.machines) != 1 || s.machines[0].Failed() {
		t.Errorf("%+v", s.machines)
	}
	slots, _, err := slot.Read(s.disk())
	if err != nil {
		t.Fatal(err)
	}
	written, release := make([]byte, to.Slot.Usr.Size), make([]byte, to.Slot.Usr.Size)
	readAt(t, s.disk(), slots[1].Partition.Offset(), written)
	readAt(t, to.Slot.Usr.Path, 0, release)
	half := len(release) / 4
	if !bytes.Equal(written[:half], release[:half]) || slices.Max(written[len(written)-half:]) != 0 {
		t.Error("the partition was not cut off in the middle")
	}

	if err := s.install(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	if chosen, err := s.choose(); err != nil || chosen.Name != "B" {
		t.Errorf("after the installation %+v is chosen, %v", chosen, err)
	}
	if chosen, err := s.choose(); err != nil || chosen.Name != "A" {
		t.Errorf("after its one try %+v is chosen, %v", chosen, err)
	}
}

// TestSayBooted says that one who watches is told which release runs, with which tools, and what becomes of the slot.
func TestSayBooted(t *testing.T) {
	for failed, last := range map[string]string{
		"":                    "   All is well: slot B is marked as good.\n",
		"a.service b.service": "   Failed: a.service, b.service. Slot B is not marked as good.\n",
	} {
		var said strings.Builder
		s := &story{Prover: &boot.Prover{Watch: func(line string) { said.WriteString(line + "\n") }}}
		s.sayBooted(slot.Slot{Name: "B"}, vm.Report{
			OSRelease: map[string]string{"VERSION_ID": "1.2.3"}, Merged: []string{"oem-x", "oem-shared"}, Failed: strings.Fields(failed),
			Units: map[string]string{"z.service": "active", "y.service": "inactive"},
		})
		want := "   It runs 1.2.3 from slot B. Merged: oem-x, oem-shared.\n   y.service is inactive.\n   z.service is active.\n" + last
		if diff := cmp.Diff(want, said.String()); diff != "" {
			t.Error(diff)
		}
	}
}

func readAt(t *testing.T, path string, at int64, into []byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(into, at); err != nil {
		t.Fatal(err)
	}
}
