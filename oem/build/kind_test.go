package build

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/source"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/source/kind"
)

// note is a kind that no other package knows: its file has the text that the recipe has for a place.
type note struct{ *recipe.Dir }

func noteOf(_ *recipe.Recipe, s recipe.Source) kind.Source {
	if s.Dir == nil {
		return nil
	}
	return note{s.Dir}
}

func (n note) Question(bool) string { return "note " + string(n.To) }

func (note) NeedsLock() {}

func (n note) pin() lock.Pin {
	text := digest.Of([]byte(n.To))
	return lock.Pin{Name: "note", Version: "7", File: "note.txt", Size: lock.Size(len(n.To)), Digest: lock.OfSHA256(text)}
}

func (n note) Agrees(_ arch.Arch, pins []lock.Pin) bool {
	return slices.Equal(pins, []lock.Pin{n.pin()})
}

func (n note) Look(context.Context, *kind.Env, arch.Arch) ([]lock.Pin, error) {
	return []lock.Pin{n.pin()}, nil
}

func (n note) Unpack(_ context.Context, _ *kind.Env, pins []lock.Pin, to kind.Place) error {
	name := "usr/" + pins[0].File
	if !to.Keep(name) {
		return nil
	}
	if err := rooted.MakeDir(to.Root, "usr"); err != nil {
		return err
	}
	return rooted.WriteBytes(to.Root, name, 0o644, []byte(n.To))
}

// TestAnotherKind resolves, locks and builds a source whose kind is in a list and nowhere else.
func TestAnotherKind(t *testing.T) {
	b, r := builder(t, checkout(t, "sources: [{dir: {path: conf, to: /usr/share/tool}}]\n", "conf/x", ""))
	b.Kinds = source.Kinds{noteOf}
	const lacks = `no entry for "note /usr/share/tool"`
	if _, err := b.Resolve(t.Context(), r, arch.AMD64); err == nil || !strings.Contains(err.Error(), lacks) {
		t.Errorf("without a lock file: %v", err)
	}
	pins, err := b.Look(t.Context(), r, r.Sources[0], arch.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	var locked lock.Lock
	locked.Set("note /usr/share/tool", "", arch.AMD64, pins)
	resolved, err := b.resolve(t.Context(), r, arch.AMD64, &locked)
	if err != nil {
		t.Fatal(err)
	}
	text := digest.Of([]byte("/usr/share/tool"))
	want := input.Input{Kind: "dir", Name: "note", Version: "7", Digest: "sha256:" + text.String()}
	if diff := cmp.Diff(want, resolved.Inputs()[0]); diff != "" {
		t.Error(diff)
	}
	made, err := b.Tree(t.Context(), resolved)
	if file, there := made.Find("/usr/note.txt"); err != nil || !there || file.SHA256 != text || made.Files() != 1 {
		t.Errorf("the tree is %v, %v", made, err)
	}
}
