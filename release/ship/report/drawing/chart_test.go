package drawing

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

func TestDraw(t *testing.T) {
	sizes := []size.Bytes{10 * size.MiB, 13 * size.MiB}
	got := Draw([]Point{{Version: "1"}, {Version: "2", Value: &sizes[0]}, {Version: "3", Value: &sizes[1]}}) // not there yet in the first one
	want := Chart{
		Path:  "M50 100L83.33 25",
		Dots:  []Dot{{"50%", "100%", "2: 10.0 MiB"}, {"83.33%", "25%", "3: 13.0 MiB"}},
		Ticks: []Tick{{"100%", "10.0 MiB"}, {"75%", "11.0 MiB"}, {"50%", "12.0 MiB"}, {"25%", "13.0 MiB"}, {"0%", "14.0 MiB"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDrawLower(t *testing.T) {
	sizes := []size.Bytes{9 * size.MiB, 12 * size.MiB, 13 * size.MiB}
	got := Draw([]Point{{Version: "1", Value: &sizes[1]}, {Version: "2", Value: &sizes[2], Lower: &sizes[0]}, {Version: "3", Value: &sizes[2], Lower: &sizes[1]}})
	if want := "M50 83.33L83.33 33.33"; got.Lower != want || got.Path != "M16.67 33.33L50 16.67L83.33 16.67" {
		t.Errorf("lower line is %q, upper line %q; want %q", got.Lower, got.Path, want)
	}
}

func TestScaleHasFewRoundSteps(t *testing.T) {
	for _, test := range []struct{ from, to, low, high, step size.Bytes }{
		{0, 0, 0, size.KiB, size.KiB},
		{5 * size.MiB, 5 * size.MiB, 5*size.MiB - size.KiB, 5*size.MiB + size.KiB, size.KiB},
		{55 * size.MiB, 58 * size.MiB, 55 * size.MiB, 59 * size.MiB, size.MiB},
		{3 * size.KiB, 700 * size.MiB, 0, 1000 * size.MiB, 500 * size.MiB},
	} {
		low, high, step := scale([]Point{{Value: &test.from}, {Value: &test.to}})
		if low != test.low || high != test.high || step != test.step {
			t.Errorf("%v to %v: scale is %v to %v by %v; want %v to %v by %v", test.from, test.to, low, high, step, test.low, test.high, test.step)
		}
	}
}

func TestDecimals(t *testing.T) {
	for got, want := range map[string]string{
		Decimals(12.5): "12.5", Decimals(0): "0", Decimals(100): "100", Decimals(33.333): "33.33",
	} {
		if got != want {
			t.Errorf("got %q; want %q", got, want)
		}
	}
}
