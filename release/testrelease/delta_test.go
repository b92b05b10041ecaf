package testrelease

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/flatcar/flatcartest"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sums"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship"
)

const earlierVersion = "4593.2.0"

// TestUpdateFromAnEarlierRelease makes two releases of a small base, the second with an update for machines of the first, and applies that.
func TestUpdateFromAnEarlierRelease(t *testing.T) {
	Needs(t)
	o := Fresh(t)
	o.Checkout, o.Version = goldenCheckout(t), ""
	assemble := func(o setup.Options) (setup.Options, *manifest.Manifest) {
		t.Helper()
		m, err := release.Assemble(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		o.Version = m.Version
		return o, m
	}
	o.BaseID = goldenBase(t, goldenUsr(t, earlierVersion))
	first, _ := assemble(o)
	o.BaseID = goldenBase(t, goldenUsr(t, flatcartest.Version))
	o.DeltaFrom = []string{first.Dir()}
	second, m := assemble(o)

	name := manifest.DeltaFile(earlierVersion)
	if len(m.Deltas) != 1 || m.Deltas[0].File != name || m.Deltas[0].From != earlierVersion {
		t.Fatalf("deltas are %v; wanted %s", m.Deltas, name)
	}
	if whole, part := m.File(manifest.UpdateFile).Size, m.File(name).Size; part == 0 || part > whole/4 {
		t.Errorf("the update from %s has %v, the whole one has %v", earlierVersion, part, whole)
	}
	content, err := os.ReadFile(filepath.Join(second.Dir(), sums.FileName))
	if err != nil {
		t.Fatal(err)
	}
	all, err := sums.Parse(content)
	if err != nil || all[name].IsZero() || all[name+".sha256"].IsZero() {
		t.Errorf("the sums have no %s, %v", name, err)
	}
	for file, want := range map[string]string{manifest.ReportMarkdownFile: "| " + earlierVersion + " |", "provenance.intoto.json": "usr.bin of " + earlierVersion} {
		if content, err := os.ReadFile(filepath.Join(second.Dir(), file)); err != nil || !bytes.Contains(content, []byte(want)) {
			t.Errorf("%s does not have %q, %v", file, want, err)
		}
	}

	key, made := filepath.Join(second.Dir(), manifest.UpdateKeyFile), t.TempDir()
	delta := filepath.Join(second.Dir(), name)
	if err := ship.VerifyPayload(t.Context(), delta, key, "", io.Discard); err != nil {
		t.Error(err)
	}
	if err := ship.ApplyDelta(t.Context(), first.Dir(), delta, made, key, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{manifest.PartitionFile, manifest.KernelFile} {
		if got, _, err := digest.OfFile(filepath.Join(made, name)); err != nil || got != m.File(name).SHA256 {
			t.Errorf("applied, %s has sha256 %v, %v; wanted %v", name, got, err, m.File(name).SHA256)
		}
	}
	if err := ship.ApplyDelta(t.Context(), second.Dir(), delta, made, key, io.Discard); err == nil || !strings.Contains(err.Error(), "the old kernel has") {
		t.Errorf("applied to another release: error is %v", err)
	}

	second.Proof.Out = t.TempDir()
	path, err := ship.WriteDelta(t.Context(), second, first.Dir(), second.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := digest.OfFile(path); err != nil || got != m.File(name).SHA256 {
		t.Errorf("payload:delta makes other bytes than the release: %v, %v", got, err)
	}

	o.DeltaFrom = []string{second.Dir()}
	if _, err := release.Assemble(t.Context(), o); err == nil || !strings.Contains(err.Error(), "does not update to its own version") {
		t.Errorf("from the release's own version: error is %v", err)
	}
	if err := os.WriteFile(filepath.Join(first.Dir(), manifest.KernelFile), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	o.DeltaFrom = []string{first.Dir()}
	o.Checkout = goldenCheckout(t)
	changeTool(t, o.Checkout)
	if _, err := release.Assemble(t.Context(), o); err == nil || !strings.Contains(err.Error(), "make or fetch the release again") {
		t.Errorf("from a release whose kernel is another one: error is %v", err)
	}
}

// changeTool changes a line of the file of the checkout's recipe.
func changeTool(t testing.TB, checkout string) {
	t.Helper()
	path := filepath.Join(checkout, "recipes/tool/files/usr/share/tool/data")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(content, []byte("line"), []byte("LINE"), 1)
	if bytes.Equal(content, changed) {
		t.Fatal("nothing is changed")
	}
	if err := os.WriteFile(path, changed, 0o644); err != nil {
		t.Fatal(err)
	}
}
