package report

import (
	"fmt"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// tick is a line across a chart, Y in percent from the top.
type tick struct {
	Y     string
	Label string
}

// dot is one release in a chart.
type dot struct{ X, Y, Says string }

// chart is a line over releases. Its path is in a box of 100 × 100 that is stretched over the place there is;
// what must keep its shape is placed in percent.
type chart struct {
	Path  string
	Dots  []dot
	Ticks []tick
}

// draw makes a chart of one value per release; nil ones are left out.
func draw(releases []release, value func(release) *size.Bytes) chart {
	var c chart
	low, high, step := scale(releases, value)
	percentOf := func(b size.Bytes) float64 { return 100 - percent(b-low, high-low) }
	for at := low; at <= high; at += step {
		c.Ticks = append(c.Ticks, tick{decimals(percentOf(at)) + "%", at.String()})
	}
	var path []string
	for i, r := range releases {
		b := value(r)
		if b == nil {
			continue
		}
		x, y := decimals(100*(float64(i)+0.5)/float64(len(releases))), decimals(percentOf(*b))
		command := "L"
		if len(path) == 0 {
			command = "M"
		}
		path = append(path, command+x+" "+y)
		c.Dots = append(c.Dots, dot{x + "%", y + "%", fmt.Sprintf("%s: %v", r.Version, *b)})
	}
	c.Path = strings.Join(path, "")
	return c
}

// scale finds round bounds around all values with a few steps between them.
func scale(releases []release, value func(release) *size.Bytes) (low, high, step size.Bytes) {
	first := true
	for _, r := range releases {
		if b := value(r); b != nil {
			if first {
				low, high, first = *b, *b, false
			}
			low, high = min(low, *b), max(high, *b)
		}
	}
	step = roundStep((high - low) / 3)
	flat := low == high
	low, high = low/step*step, (high/step+1)*step
	if flat { // in the middle, not on the ground
		low = max(0, low-step)
	}
	return low, high, step
}

// roundStep returns 1, 2 or 5 times a power of ten in the unit that a size is printed in, KiB at least.
func roundStep(atLeast size.Bytes) size.Bytes {
	for _, unit := range []size.Bytes{size.KiB, size.MiB, size.GiB} {
		for _, n := range []size.Bytes{1, 2, 5, 10, 20, 50, 100, 200, 500} {
			if n*unit >= atLeast {
				return n * unit
			}
		}
	}
	return max(atLeast, 1)
}

// decimals prints what is placed on a screen: finer than any pixel, and never with an exponent.
func decimals(f float64) string {
	text := strings.TrimRight(fmt.Sprintf("%.2f", f), "0")
	return strings.TrimSuffix(text, ".")
}
