// Package progress shows the progress of long work to people.
//
// On a terminal, each running step has a line that changes. Elsewhere, such as in the log of a CI system, a step has a line when it
// begins, another one every half minute while it lasts, and one when it ends. How long it will still take is said where an earlier run of
// the same work is known. There are no colors.
package progress

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

const (
	// beginsAfter is how long a step lasts before there is a line about it. Steps that were done before show up only when they end.
	beginsAfter = 500 * time.Millisecond
	lastsEvery  = 30 * time.Second // from one line about a running step to the next, where lines stay
	drawEvery   = 200 * time.Millisecond
	mostNamed   = 4 // things that a step works on at once
)

// Display shows progress. Its methods may be called concurrently.
type Display struct {
	out    io.Writer
	screen func() (width, height int, err error) // nil where lines stay
	start  time.Time

	mu      sync.Mutex
	running []*Step
	drawn   int // lines below the last one that stays
	timer   *time.Timer
	past    Past            // an earlier run; zero if none is known
	passed  map[string]Span // steps that have ended
	begun   map[string]int  // how many steps of each name
}

// New returns a display that redraws lines if out is a terminal, and only adds lines otherwise.
func New(out io.Writer) *Display {
	d := &Display{out: out, start: time.Now(), passed: map[string]Span{}, begun: map[string]int{}}
	if file, isFile := out.(*os.File); isFile && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd())) {
		d.screen = func() (int, int, error) { return term.GetSize(int(file.Fd())) }
	}
	return d
}

// Say writes one line, which may quote others (package foreign), with the time since the start.
func (d *Display) Say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.say(fmt.Sprintf(format, args...))
}

func (d *Display) say(line string) {
	d.erase()
	fmt.Fprintf(d.out, "%6.1fs  %s\n", time.Since(d.start).Seconds(), foreign.Text(line))
	d.draw()
}

// Close removes the lines of steps that did not end, so that an error can be printed.
func (d *Display) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.erase()
	d.running = nil
}

// Items starts a step counted in items; 0 when their number is not known.
func (d *Display) Items(name string, total int) *Step {
	return d.begin(&Step{name: name, total: int64(total), text: func(n int64) string { return fmt.Sprint(n) }})
}

// Bytes starts a step counted in bytes; 0 when their number is not known.
func (d *Display) Bytes(name string, total int64) *Step {
	return d.begin(&Step{name: name, total: total, bytes: true, text: func(n int64) string { return size.Bytes(n).String() }})
}

// Task starts a step with nothing to count.
func (d *Display) Task(name string) *Step { return d.begin(&Step{name: name}) }

func (d *Display) begin(s *Step) *Step {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.display, s.start = d, time.Now()
	d.begun[s.name]++
	s.key = fmt.Sprint(s.name, " ", d.begun[s.name])
	s.next = s.start.Add(beginsAfter)
	d.running = append(d.running, s)
	if len(d.running) == 1 {
		d.timer = time.AfterFunc(d.interval(), d.tick)
	}
	return s
}

func (d *Display) interval() time.Duration {
	if d.screen != nil {
		return drawEvery
	}
	return beginsAfter
}

// tick shows what there is to show, and comes back while steps are running.
func (d *Display) tick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.running) == 0 {
		return
	}
	if d.screen != nil {
		d.erase()
		d.draw()
	} else {
		d.lines()
	}
	d.timer.Reset(d.interval())
}

// lines writes a line about each step for which it is time.
func (d *Display) lines() {
	now := time.Now()
	for _, s := range d.running {
		if !s.idle && !now.Before(s.next) {
			s.next = now.Add(lastsEvery)
			s.shown = true
			d.say(s.status() + d.left())
		}
	}
}

// draw writes the line of each step that has been running for a moment, as many as there is room for.
func (d *Display) draw() {
	if d.screen == nil {
		return
	}
	width, height, err := d.screen()
	if err != nil || width < 2 || height < 2 {
		return
	}
	left := d.left() // of the whole, so it is said once
	for _, s := range d.running {
		if s.idle || time.Now().Before(s.next) || d.drawn == height-1 {
			continue
		}
		s.shown = true
		line := []rune(foreign.Line(fmt.Sprintf("%6.0fs  %s", time.Since(s.start).Seconds(), s.status()+left)))
		left = ""
		fmt.Fprintf(d.out, "%s\n", string(line[:min(len(line), width-1)]))
		d.drawn++
	}
}

// erase removes what draw has written: it moves up to its first line and clears all below (ECMA-48, CUU and ED).
func (d *Display) erase() {
	if d.drawn > 0 {
		fmt.Fprintf(d.out, "\x1b[%dA\r\x1b[J", d.drawn)
		d.drawn = 0
	}
}

// Step is a part of the work.
type Step struct {
	display *Display
	name    string
	key     string // among the steps of the run
	start   time.Time
	bytes   bool
	text    func(int64) string // of an amount; nil when nothing is counted

	// Under the display's lock.
	total, done int64
	now         []string // what it works on
	idle        bool     // not shown for now
	shown       bool     // there was a line
	next        time.Time
}

// Grow increases the total.
func (s *Step) Grow(n int64) {
	s.display.mu.Lock()
	defer s.display.mu.Unlock()
	s.total += n
}

// Add counts finished work.
func (s *Step) Add(n int64) {
	s.display.mu.Lock()
	defer s.display.mu.Unlock()
	s.done += n
}

// On says what the step works on, until the result is called. That may be several things at once.
func (s *Step) On(what string) (end func()) {
	s.display.mu.Lock()
	defer s.display.mu.Unlock()
	s.now = append(s.now, what)
	return func() {
		s.display.mu.Lock()
		defer s.display.mu.Unlock()
		if i := slices.Index(s.now, what); i >= 0 {
			s.now = slices.Delete(s.now, i, i+1)
		}
	}
}

// sleep hides the step while it works on nothing.
func (s *Step) sleep() {
	s.display.mu.Lock()
	defer s.display.mu.Unlock()
	s.idle = len(s.now) == 0
}

func (s *Step) wake() {
	s.display.mu.Lock()
	defer s.display.mu.Unlock()
	s.idle = false
}

// Write counts the bytes, so that a step can be the writer of an io.TeeReader.
func (s *Step) Write(p []byte) (int, error) {
	s.Add(int64(len(p)))
	return len(p), nil
}

// status says how far the step is, and what it works on.
func (s *Step) status() string {
	status := s.name
	switch {
	case s.text == nil:
	case s.total > 0:
		status += fmt.Sprintf(": %s of %s", s.text(s.done), s.text(max(s.total, s.done)))
	default:
		status += ": " + s.text(s.done)
	}
	if len(s.now) > 0 {
		status += "; now " + strings.Join(s.now[:min(len(s.now), mostNamed)], ", ")
	}
	if more := len(s.now) - mostNamed; more > 0 {
		status += fmt.Sprintf(" and %d more", more)
	}
	return status
}

// End closes the step and says how long it took, unless it did nothing or nothing that takes time. Of a step that is counted in
// items, but has not done all of them, it says how far it came.
func (s *Step) End() {
	s.close(func(took string) string {
		if s.text != nil && !s.bytes && s.done < s.total {
			return fmt.Sprintf("%s: stopped at %d of %d after %s", s.name, s.done, s.total, took)
		}
		return fmt.Sprintf("%s done in %s", s.name, took)
	})
}

// Stop closes a step that failed.
func (s *Step) Stop() {
	s.close(func(took string) string { return fmt.Sprintf("%s: stopped after %s", s.name, took) })
}

func (s *Step) close(last func(took string) string) {
	d := s.display
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.running, s)
	if i < 0 {
		return
	}
	d.running = slices.Delete(d.running, i, i+1)
	d.passes(s)
	if s.done > 0 || s.shown {
		d.say(last(fmt.Sprintf("%.1fs", time.Since(s.start).Seconds())))
	}
}
