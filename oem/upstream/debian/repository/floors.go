package repository

import (
	_ "embed" // the dates
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// FloorsFile is the path of the dates in a checkout.
const FloorsFile = "oem/upstream/debian/repository/floors.txt"

//go:embed floors.txt
var floors string

// Floors are the dates, by suite, below which an index is refused as old.
type Floors map[string]time.Time

// KnownFloors returns those of the tree.
func KnownFloors() (Floors, error) { return ParseFloors(floors) }

// ParseFloors reads lines of a suite and a date, and comments.
func ParseFloors(text string) (Floors, error) {
	found := Floors{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) != 2 {
			return nil, fmt.Errorf("%s:%d: %q; wanted a suite and a date", FloorsFile, n, strings.TrimSpace(line))
		}
		date, err := time.Parse(time.RFC3339, words[1])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %q; wanted a date such as 2026-11-21T09:15:44Z", FloorsFile, n, words[1])
		}
		found[words[0]] = date
	}
	return found, nil
}

// Encode returns the lines, below the comments that a text begins with.
func (f Floors) Encode(like string) string {
	var out strings.Builder
	for line := range strings.Lines(like) {
		if strings.HasPrefix(line, "#") {
			out.WriteString(line)
		}
	}
	for _, suite := range slices.Sorted(maps.Keys(f)) {
		fmt.Fprintf(&out, "%s %s\n", suite, f[suite].UTC().Format(time.RFC3339))
	}
	return out.String()
}

// checkFloor refuses an index that is older than one that the tree knows of.
func (a *Archive) checkFloor(name string, doc *inRelease) error {
	floor := a.Floors[name]
	if !doc.date.Before(floor) {
		return nil
	}
	const layout = time.DateTime
	if a.AllowExpired {
		a.Log.Warn("the index is older than one that was seen; accepted by configuration", "suite", name, "date", doc.date.Format(layout), "seen", floor.Format(layout))
		return nil
	}
	return fmt.Errorf("it is of %s, and %s names one of %s: the mirror is outdated, or someone replays an old index; try another mirror, or set %s=no to accept it",
		doc.date.Format(layout), FloorsFile, floor.Format(layout), EnvAllowExpired)
}
