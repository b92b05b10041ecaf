// Package drawing draws sizes: how they grew from release to release, and how they divide what they are part of.
//
// In go names and sizes, out come places in percent, and the trees of files that a script places. Refused is nothing;
// what takes no room is left out.
package drawing

import (
	"fmt"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Tick is a line across a chart, Y in percent from the top.
type Tick struct {
	Y     string
	Label string
}

// Dot is one release in a chart.
type Dot struct{ X, Y, Says string }

// Point is a value of one release, nil where it has none, and optionally one below it.
type Point struct {
	Version string
	Value   *size.Bytes
	Lower   *size.Bytes
}

// Chart is a line over releases. Its path is in a box of 100 × 100 that is stretched over the place there is;
// what must keep its shape is placed in percent.
type Chart struct {
	Path  string
	Lower string // the path of the lower values; empty without
	Dots  []Dot
	Ticks []Tick
}

// Draw makes a chart of one value per release; nil ones are left out.
func Draw(releases []Point) Chart {
	var c Chart
	low, high, step := scale(releases)
	percentOf := func(b size.Bytes) float64 { return 100 - Percent(b-low, high-low) }
	for at := low; at <= high; at += step {
		c.Ticks = append(c.Ticks, Tick{Decimals(percentOf(at)) + "%", at.String()})
	}
	var path, lower []string
	for i, r := range releases {
		b := r.Value
		if b == nil {
			continue
		}
		x, y := Decimals(100*(float64(i)+0.5)/float64(len(releases))), Decimals(percentOf(*b))
		path = lineTo(path, x, y)
		if r.Lower != nil {
			lower = lineTo(lower, x, Decimals(percentOf(*r.Lower)))
		}
		c.Dots = append(c.Dots, Dot{x + "%", y + "%", fmt.Sprintf("%s: %v", r.Version, *b)})
	}
	c.Path, c.Lower = strings.Join(path, ""), strings.Join(lower, "")
	return c
}

// lineTo goes on to a place, or begins there.
func lineTo(path []string, x, y string) []string {
	command := "L"
	if len(path) == 0 {
		command = "M"
	}
	return append(path, command+x+" "+y)
}

// scale finds round bounds around all values with a few steps between them.
func scale(releases []Point) (low, high, step size.Bytes) {
	first := true
	for _, r := range releases {
		for _, b := range []*size.Bytes{r.Value, r.Lower} {
			if b == nil || r.Value == nil {
				continue
			}
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

// Decimals prints what is placed on a screen: finer than any pixel, and never with an exponent.
func Decimals(f float64) string {
	text := strings.TrimRight(fmt.Sprintf("%.2f", f), "0")
	return strings.TrimSuffix(text, ".")
}

// Percent is what a part is of a whole, zero of nothing.
func Percent(part, whole size.Bytes) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}
