package proof

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

func TestMerge(t *testing.T) {
	r := Release{t.TempDir(), &manifest.Manifest{Version: "1.2.3", Arch: "amd64"}}
	content := []byte("kernel")
	if err := os.WriteFile(filepath.Join(r.Dir, Kernel), content, 0o644); err != nil {
		t.Fatal(err)
	}
	r.Manifest.Files = []manifest.File{{Name: Kernel, Size: size.Bytes(len(content)), SHA256: digest.Of(content)}}
	part := func(accel string, ids ...string) *Proof {
		p := &Proof{Schema: Schema, Version: "1.2.3", Arch: "amd64", Accel: accel, Booted: map[string]digest.SHA256{Kernel: digest.Of(content)}}
		for _, id := range ids {
			p.Machines = append(p.Machines, Machine{Platform: id})
		}
		return p
	}
	whole, err := Merge(r, []string{"a", "b", "c"}, []*Proof{part("tcg", "c", "a"), part("kvm", "b")})
	if err != nil {
		t.Fatal(err)
	}
	want := part("kvm, tcg", "a", "b", "c")
	if diff := cmp.Diff(want, whole); diff != "" {
		t.Error(diff)
	}
	encoded, err := whole.Encode()
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := Decode(encoded)
	if diff := cmp.Diff(want, decoded); diff != "" || err != nil {
		t.Error(err, diff)
	}
	other := part("kvm", "b")
	other.Booted[Kernel] = digest.Of([]byte("another kernel"))
	for says, parts := range map[string][]*Proof{
		"b is in 0 of them":         {part("kvm", "a", "c")},
		"b is in 2 of them":         {part("kvm", "a", "b"), part("kvm", "b", "c")},
		"d is no platform":          {part("kvm", "a", "b", "c", "d")},
		"one is about other files":  {part("kvm", "a", "c"), other},
		"a is in 0 of them; wanted": nil,
	} {
		if _, err := Merge(r, []string{"a", "b", "c"}, parts); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error is %v; wanted %q", err, says)
		}
	}
	for _, bad := range []string{"", "[]", `{"schema": 99}`} {
		if _, err := Decode([]byte(bad)); err == nil {
			t.Errorf("reads %q", bad)
		}
	}
}
