package ship_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/magefiles/show"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/vm"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship"
)

// TestInstall installs a release, found by its manifest, to a disk, and prints the slots before and after.
func TestInstall(t *testing.T) {
	tools := toolroottest.Judges(t)
	dir := t.TempDir()
	o, err := setup.FromEnvironment("../..")
	if err != nil {
		t.Fatal(err)
	}
	o.Output, o.Cache, o.Version = filepath.Join(dir, "output"), toolroottest.Cache(t), "1.2.3"
	m := &manifest.Manifest{Schema: manifest.Schema}
	for name, content := range map[string][]byte{"usr.bin": bytes.Repeat([]byte("usr\n"), 1<<18), "vmlinuz": []byte("kernel")} {
		writeFile(t, filepath.Join(o.Dir(), name), content)
		m.Files = append(m.Files, manifest.File{Name: name, Size: size.Bytes(len(content)), SHA256: digest.Of(content)})
	}
	encoded, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(o.Dir(), manifest.FileName), encoded)

	boot, disk := filepath.Join(dir, "boot"), filepath.Join(dir, "disk")
	writeFile(t, boot, make([]byte, 2*size.MiB))
	if err := tools.Run(t.Context(), toolroot.Cmd{Program: "mkfs.fat", Args: []string{boot}, Write: []string{boot}}); err != nil {
		t.Fatal(err)
	}
	err = vm.MakeDisk(t.Context(), tools, disk, []vm.Partition{
		{Number: 1, Name: "EFI-SYSTEM", Type: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", Content: boot},
		vm.UsrA(filepath.Join(o.Dir(), "usr.bin")),
		{Number: 4, Name: "USR-B", Type: disks.UsrType, UUID: disks.UsrBUUID, Size: size.MiB},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantSlots(t, disk, `
SLOT  PARTITION  SIZE     PRIORITY  TRIES  SUCCESSFUL
A     3 USR-A    1.0 MiB  1         0      true        boots next
B     4 USR-B    1.0 MiB  0         0      false
`)
	slot, err := ship.Install(t.Context(), o, disk)
	if err != nil || slot.Name != "B" {
		t.Fatalf("installed to %s, %v; wanted B", slot.Name, err)
	}
	wantSlots(t, disk, `
SLOT  PARTITION  SIZE     PRIORITY  TRIES  SUCCESSFUL
A     3 USR-A    1.0 MiB  1         0      true
B     4 USR-B    1.0 MiB  2         1      false       boots next
`)

	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0}, 512); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := show.Slots(show.Text(&out), disk); err != nil || !strings.Contains(out.String(), "the primary partition table is damaged") {
		t.Errorf("got %s, %v; wanted the damage to be told", out.String(), err)
	}

	o.Version = "1.2.4"
	if _, err := ship.Install(t.Context(), o, disk); err == nil || !strings.Contains(err.Error(), "no release: ") {
		t.Errorf("got %v; wanted a release that is not there to be refused", err)
	}
}

func wantSlots(t *testing.T, disk, want string) {
	t.Helper()
	var out strings.Builder
	if err := show.Slots(show.Text(&out), disk); err != nil {
		t.Fatal(err)
	}
	got := "\n" + regexp.MustCompile(` +\n`).ReplaceAllString(out.String(), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
