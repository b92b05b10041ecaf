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
	if err := p.Check(); err != nil {
		t.Errorf("%v: %+v", err, p)
	}
	p.Boots[0].Said = report{}
	if p.Check() == nil {
		t.Error("a boot that merges nothing passes for one with the archive")
	}
}

// TestBootCheck says what is wrong with a machine.
func TestBootCheck(t *testing.T) {
	want := report{Initramfs: []string{"oem-x"}, System: []string{"oem-x"}, Modules: []string{"a"}, Markers: []string{"/marker/1"}}
	good := Boot{Want: want, Not: []string{"b"}, Said: report{Initramfs: want.Initramfs, System: want.System, Modules: []string{"c", "a"}, Markers: want.Markers}}
	if errs := good.check(); len(errs) > 0 {
		t.Error(errs)
	}
	for text, spoil := range map[string]func(*Boot){
		"in the initramfs are merged []": func(b *Boot) { b.Said.Initramfs = nil },
		"in the system are merged []":    func(b *Boot) { b.Said.System = nil },
		"archives left []":               func(b *Boot) { b.Said.Markers = nil },
		"a is not loaded":                func(b *Boot) { b.Said.Modules = nil },
		"b is loaded":                    func(b *Boot) { b.Said.Modules = []string{"a", "b"} },
		"it does not come up: gone":      func(b *Boot) { b.Err = errors.New("gone") },
		"it comes up; wanted":            func(b *Boot) { b.Fail = true },
		"against it is <nil>":            func(b *Boot) { b.Why = "broken" },
		"against it is broken":           func(b *Boot) { b.Told = errors.New("broken") },
	} {
		b := good
		spoil(&b)
		if errs := b.check(); len(errs) != 1 || !strings.Contains(errs[0].Error(), text) {
			t.Errorf("%v; wanted %q", errs, text)
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
		if err := early.List(path, io.Discard); err == nil || !strings.Contains(err.Error(), b.Why) {
			t.Errorf("%s: error is %v; wanted %q", b.Name, err, b.Why)
		} else {
			t.Log(err)
		}
	}
}
