//go:build nightly

package testrelease

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/flatcar/flatcartest"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// TestNightlyUpdateWithAGrownImage makes a tool longer by a tenth, at its beginning, whose image lies between those of others. What follows it is
// elsewhere then: the file system's trees have other addresses, and the hash tree other blocks.
func TestNightlyUpdateWithAGrownImage(t *testing.T) {
	Needs(t)
	o := Fresh(t)
	o.Checkout, o.Version = goldenCheckout(t), ""
	const length = 1 << 20
	random := rand.NewChaCha8([32]byte{1})
	content := make([]byte, 3*length+length/10)
	if _, err := random.Read(content); err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"akamai", "hyperv", "vmware"} {
		addTool(t, o.Checkout, id, content[i*length:(i+1)*length])
	}
	o.BaseID = goldenBase(t, goldenUsr(t, earlierVersion))
	first, err := release.Assemble(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	old := o
	old.Version = first.Version
	o.DeltaFrom = []string{old.Dir()}

	addTool(t, o.Checkout, "hyperv", slices.Concat(content[3*length:], content[length:2*length]))
	o.BaseID = goldenBase(t, goldenUsr(t, flatcartest.Version))
	second, err := release.Assemble(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	image := func(m *manifest.Manifest) size.Bytes { return m.File("oem-hyperv.raw").Size }
	if grown := image(second) - image(first); grown < length/11 {
		t.Errorf("the image has grown by %v", grown)
	}
	sent := second.File(manifest.DeltaFile(earlierVersion)).Size
	t.Logf("the update has %.2f times the bytes of the image", float64(sent)/float64(image(second)))
	if sent == 0 || sent > image(second)*13/10 {
		t.Errorf("the image has %v, the update has %v; wanted at most 1.3 times as much", image(second), sent)
	}
}

// addTool writes a platform with one tool, which has one file.
func addTool(t *testing.T, checkout, id string, content []byte) {
	t.Helper()
	for name, content := range map[string]string{
		"recipes/tool-" + id + "/recipe.yaml": "name: tool-" + id + "\nsummary: s\nhomepage: https://example.org\nlicense: MIT\narches: [amd64]\n" +
			"files: files/\nmax_size: 2 MiB\n",
		"recipes/tool-" + id + "/files/usr/share/tool-" + id + "/data": string(content),
		"platforms/" + id + ".yaml": "id: " + id + "\nname: N\nhomepage: https://example.org\nkernel_id: " + id + "\narches: [amd64]\n" +
			"recipes: [tool-" + id + "]\ndetect: [{dmi: {sys_vendor: " + id + "}}]\n",
	} {
		path := filepath.Join(checkout, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
