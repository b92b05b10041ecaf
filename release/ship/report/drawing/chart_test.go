package report

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

func TestDraw(t *testing.T) {
	sizes := []size.Bytes{-1, 10 * size.MiB, 13 * size.MiB}
	got := draw([]release{{Version: "1"}, {Version: "2"}, {Version: "3"}}, func(r release) *size.Bytes {
		if b := sizes[r.Version[0]-'1']; b >= 0 {
			return &b
		}
		return nil // not there yet
	})
	want := chart{
		Path:  "M50 100L83.33 25",
		Dots:  []dot{{"50%", "100%", "2: 10.0 MiB"}, {"83.33%", "25%", "3: 13.0 MiB"}},
		Ticks: []tick{{"100%", "10.0 MiB"}, {"75%", "11.0 MiB"}, {"50%", "12.0 MiB"}, {"25%", "13.0 MiB"}, {"0%", "14.0 MiB"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestScaleHasFewRoundSteps(t *testing.T) {
	for _, test := range []struct{ from, to, low, high, step size.Bytes }{
		{0, 0, 0, size.KiB, size.KiB},
		{5 * size.MiB, 5 * size.MiB, 5*size.MiB - size.KiB, 5*size.MiB + size.KiB, size.KiB},
		{55 * size.MiB, 58 * size.MiB, 55 * size.MiB, 59 * size.MiB, size.MiB},
		{3 * size.KiB, 700 * size.MiB, 0, 1000 * size.MiB, 500 * size.MiB},
	} {
		releases := []release{{Embedded: test.from}, {Embedded: test.to}}
		low, high, step := scale(releases, func(r release) *size.Bytes { return &r.Embedded })
		if low != test.low || high != test.high || step != test.step {
			t.Errorf("%v to %v: scale is %v to %v by %v; want %v to %v by %v", test.from, test.to, low, high, step, test.low, test.high, test.step)
		}
	}
}
