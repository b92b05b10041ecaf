package plan_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

// Images of one block take the same of /usr, whatever is in them, so that one of them is measured for all. Those of two blocks do not.
func TestCostOfOneBlock(t *testing.T) {
	made := testrelease.Made(t)
	random := make([]byte, 8*size.KiB)
	if _, err := rand.NewChaCha8([32]byte{}).Read(random); err != nil {
		t.Fatal(err)
	}
	weigh := func(content []byte) size.Bytes {
		t.Helper()
		d, n, err := made.Bench.Blobs.Add(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		cost, err := made.Planner().Weigh(t.Context(), pack.Image{SHA256: d, Size: size.Bytes(n)})
		if err != nil {
			t.Fatal(err)
		}
		return cost
	}
	for _, blocks := range []size.Bytes{1, 2} {
		length := blocks * 4 * size.KiB
		full, text, zeros := weigh(random[:length]), weigh(bytes.Repeat([]byte("text"), int(length/4))), weigh(make([]byte, length))
		if alike := full == text && full == zeros; full < length || alike != (blocks == 1) {
			t.Errorf("%d blocks cost %v with random bytes, %v with text and %v with zeros", blocks, full, text, zeros)
		}
	}
}
