package progress

import (
	"fmt"
	"maps"
	"time"
)

// Past is when the steps of a run began and ended. What is left of another run of the same work is told by it.
type Past struct {
	Seconds float64         `json:"seconds"` // that the run took
	Steps   map[string]Span `json:"steps"`   // by name and number, as there may be several of one name
}

// Span is when a step began and ended, in seconds since the run's start.
type Span struct {
	Begin float64 `json:"begin"`
	End   float64 `json:"end"`
}

// Expect has lines say about how long the run will still take if it takes as long as an earlier one.
func (d *Display) Expect(past Past) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.past = past
}

// Passed returns how long the run has taken so far, and its steps that have ended.
func (d *Display) Passed() Past {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Past{time.Since(d.start).Seconds(), maps.Clone(d.passed)}
}

// passes notes that a step has ended.
func (d *Display) passes(s *Step) {
	d.passed[s.key] = Span{s.start.Sub(d.start).Seconds(), time.Since(d.start).Seconds()}
}

// left says how long the earlier run still took from where this one is: in the running step that came last in it. It is empty
// where there is nothing to go by.
func (d *Display) left() string {
	at := -1.
	for _, s := range d.running {
		if span, known := d.past.Steps[s.key]; known {
			at = max(at, min(span.Begin+time.Since(s.start).Seconds(), span.End))
		}
	}
	switch left := d.past.Seconds - at; {
	case at < 0 || left < 5:
		return ""
	case left < 100:
		return fmt.Sprintf("; about %.0f s left", 5*float64(int(left/5+.5)))
	default:
		return fmt.Sprintf("; about %.0f min left", left/60)
	}
}
