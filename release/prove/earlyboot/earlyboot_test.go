package earlyboot

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/release/plan/early"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

func TestMain(m *testing.M) { testrelease.Main(m) }

// TestProof boots a machine that finds its disk by a module of the platform's image alone.
func TestProof(t *testing.T) {
	made := testrelease.Made(t)
	w, err := newProver(t.Context(), made.Run, made.Planned)
	if err != nil {
		t.Fatal(err)
	}
	boots, err := w.diskBoots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.boot(t.Context(), boots)
	if err != nil {
		t.Fatal(err)
	}
	if p.Failed() > 0 || len(p.Machines) != len(boots) {
		t.Errorf("%+v", p.Machines)
	}
	boots[0].Got = report{}
	if m := boots[0].machine(); !m.Failed() {
		t.Error("a boot that merges nothing passes for one with the archive")
	}
}

// TestBootOutcomes says what is wrong with a machine.
func TestBootOutcomes(t *testing.T) {
	want := report{Initramfs: []string{"oem-x"}, System: []string{"oem-x"}, Modules: []string{"a"}, Markers: []string{"/marker/1"}}
	good := Boot{Want: want, WantNot: []string{"b"}, Got: report{Initramfs: want.Initramfs, System: want.System, Modules: []string{"c", "a"}, Markers: want.Markers}}
	wrong := func(b Boot) []string {
		var all []string
		for _, o := range b.outcomes() {
			if o.Error != "" {
				all = append(all, o.Assertion+": "+o.Error)
			}
		}
		return all
	}
	if found := wrong(good); len(found) > 0 {
		t.Error(found)
	}
	for text, spoil := range map[string]func(*Boot){
		"the initramfs merges its images and no others: []": func(b *Boot) { b.Got.Initramfs = nil },
		"the system merges its images and no others: []":    func(b *Boot) { b.Got.System = nil },
		"archives leave their files in the initramfs: []":   func(b *Boot) { b.Got.Markers = nil },
		"a is not loaded":           func(b *Boot) { b.Got.Modules = nil },
		"b is loaded":               func(b *Boot) { b.Got.Modules = []string{"a", "b"} },
		"it comes up: gone":         func(b *Boot) { b.Err = errors.New("gone") },
		"it does not come up: it":   func(b *Boot) { b.NoBoot = true },
		"listing them gives <nil>":  func(b *Boot) { b.Refused = "broken" },
		"listing them gives broken": func(b *Boot) { b.Listing = errors.New("broken") },
	} {
		b := good
		spoil(&b)
		if found := wrong(b); len(found) != 1 || !strings.Contains(found[0], text) {
			t.Errorf("%v; wanted %q", found, text)
		}
	}
}

// TestBrokenArchives says why a kernel would not unpack an archive before there is a boot.
func TestBrokenArchives(t *testing.T) {
	broken, err := brokenArchives()
	if err != nil || len(broken) == 0 {
		t.Fatal(broken, err)
	}
	for _, b := range broken {
		path := filepath.Join(t.TempDir(), "initrd")
		if err := atomicfile.Write(path, 0o600, func(out io.Writer) error { return join(out, b.parts) }); err != nil {
			t.Fatal(err)
		}
		if err := early.List(path, io.Discard); err == nil || !strings.Contains(err.Error(), b.Refused) {
			t.Errorf("%s: error is %v; wanted %q", b.Name, err, b.Refused)
		} else {
			t.Log(err)
		}
	}
}
