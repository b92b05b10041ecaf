package report

import (
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

func TestPartsOf(t *testing.T) {
	images := []manifest.Image{{Embedded: "x", Cost: 200, Size: 190}, {Cost: 0, Size: 500}} // the second one is not embedded
	for name, test := range map[string]struct {
		budgets []budget.Budget
		after   size.Bytes
		want    parts
	}{
		"headroom":                             {[]budget.Budget{{Name: "payload", Limit: 5}, {Name: "usr", Limit: 900}}, 480, parts{Base: 300, Images: 200, Metadata: 20, Headroom: 100, Free: 380}},
		"no budget":                            {nil, 500, parts{Base: 300, Images: 200, Free: 500}},
		"headroom is used":                     {[]budget.Budget{{Name: "usr", Limit: 400}}, 500, parts{Base: 300, Images: 200, Headroom: 500}},
		"larger file system than budget knows": {[]budget.Budget{{Name: "usr", Limit: 2000}}, 500, parts{Base: 300, Images: 200, Free: 500}},
	} {
		got := partsOf(&manifest.Manifest{
			Images: images, Plan: manifest.Plan{Budgets: test.budgets},
			Partition: manifest.Partition{Filesystem: 1000, FreeBefore: 700, FreeAfter: test.after},
		})
		if got != test.want {
			t.Errorf("%s: %+v; want %+v", name, got, test.want)
		}
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		signed(0): "±0", signed(2048): "+2.0 KiB", signed(-1): "−1 B", growth(nil): "new",
		duration(999): "1.0 ms", duration(12345): "12.3 ms", duration(2_500_000): "2.50 s",
		count(1, "file"): "1 file", count(0, "file"): "0 files",
	} {
		if got != want {
			t.Errorf("got %q; want %q", got, want)
		}
	}
}
