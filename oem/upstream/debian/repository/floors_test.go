package repository

import (
	"strings"
	"testing"
	"time"
)

// TestFloor gives a machine without any kept copy an index that is signed, and older than the tree says there are.
func TestFloor(t *testing.T) {
	for name, test := range map[string]struct {
		floor  time.Time
		frozen bool
		says   string // nothing: accepted
	}{
		"as old as it":         {published, false, ""},
		"older":                {published.Add(time.Hour), false, FloorsFile + " names one of "},
		"older, on purpose":    {published.Add(time.Hour), true, ""},
		"newer than the floor": {published.Add(-time.Hour), false, ""},
	} {
		m := newMirror(t)
		a := m.archive()
		a.Floors, a.AllowExpired = Floors{"trixie": test.floor, "trixie-backports": published.Add(time.Hour)}, test.frozen
		_, err := a.Release(t.Context(), "trixie", "amd64")
		if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), EnvAllowExpired+"=no")) {
			t.Errorf("%s: error is %v; wanted %q", name, err, test.says)
		}
		if warned := strings.Contains(m.log.String(), "older than one that was seen"); warned != test.frozen {
			t.Errorf("%s: warned: %v", name, warned)
		}
	}
}

func TestFloorsOfTheTree(t *testing.T) {
	known, err := KnownFloors()
	if err != nil || known["trixie"].IsZero() {
		t.Fatalf("%v, %v", known, err)
	}
	if got := known.Encode(floors); got != floors {
		t.Errorf("written as\n%s; is\n%s", got, floors)
	}
	for text, says := range map[string]string{"trixie": "floors.txt:1: ", "# x\ntrixie yesterday": "floors.txt:2: "} {
		if _, err := ParseFloors(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error is %v", text, err)
		}
	}
}
