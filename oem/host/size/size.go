// Package size parses and prints byte counts.
package size

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a number of bytes.
type Bytes int64

// Binary multiples are the only units accepted and printed.
const (
	KiB Bytes = 1 << 10
	MiB Bytes = 1 << 20
	GiB Bytes = 1 << 30
)

// Parse reads a whole number with a unit: "512 B", "24 MiB", "1GiB". Only 0 needs none.
// It refuses fractions, negative numbers, decimal units (MB) and anything above 2^63-1 bytes.
func Parse(text string) (Bytes, error) {
	digits := strings.TrimLeft(text, "0123456789")
	number, err := strconv.ParseInt(text[:len(text)-len(digits)], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size; wanted a whole number with B, KiB, MiB or GiB, such as 24 MiB", text)
	}
	unit, known := map[string]Bytes{"B": 1, "KiB": KiB, "MiB": MiB, "GiB": GiB}[strings.TrimSpace(digits)]
	switch {
	case strings.TrimSpace(digits) == "" && number == 0:
		return 0, nil
	case strings.TrimSpace(digits) == "":
		return 0, fmt.Errorf("%q has no unit; wanted B, KiB, MiB or GiB, such as 24 MiB", text)
	case !known:
		return 0, fmt.Errorf("%q has the unit %q; wanted B, KiB, MiB or GiB", text, strings.TrimSpace(digits))
	}
	if number > math.MaxInt64/int64(unit) {
		return 0, fmt.Errorf("%q is more than 2^63-1 bytes", text)
	}
	return Bytes(number) * unit, nil
}

// String prints one decimal in the largest unit that fits, and plain bytes below 1 KiB.
func (b Bytes) String() string {
	abs := max(b, -b)
	switch {
	case abs >= GiB:
		return fmt.Sprintf("%.1f GiB", float64(b)/float64(GiB))
	case abs >= MiB:
		return fmt.Sprintf("%.1f MiB", float64(b)/float64(MiB))
	case abs >= KiB:
		return fmt.Sprintf("%.1f KiB", float64(b)/float64(KiB))
	}
	return fmt.Sprintf("%d B", int64(b))
}

// Milliseconds prints a number of microseconds.
func Milliseconds(microseconds int64) string { return fmt.Sprintf("%d ms", (microseconds+500)/1000) }
