package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// signed prints a difference with its sign, "±0" for none.
func signed(b size.Bytes) string {
	switch {
	case b > 0:
		return "+" + b.String()
	case b < 0:
		return "−" + (-b).String()
	}
	return "±0"
}

// growth prints a difference to the last release, "new" where there is nothing to compare with.
func growth(b *size.Bytes) string {
	if b == nil {
		return "new"
	}
	return signed(*b)
}

// duration prints three digits or so: times are for comparing, and measured on one machine.
func duration(microseconds int64) string {
	d := time.Duration(microseconds) * time.Microsecond
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// longer prints a difference of durations with its sign.
func longer(microseconds int64) string {
	switch {
	case microseconds > 0:
		return "+" + duration(microseconds)
	case microseconds < 0:
		return "−" + duration(-microseconds)
	}
	return "±0"
}

// count prints a number with its noun: "1 file", "2 files".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// byCount puts what most images use first.
func byCount(rungs map[string]*rungUse) []rungUse {
	var list []rungUse
	for _, name := range slices.Sorted(maps.Keys(rungs)) {
		list = append(list, *rungs[name])
	}
	slices.SortStableFunc(list, func(a, b rungUse) int { return cmp.Compare(b.Images, a.Images) })
	return list
}
