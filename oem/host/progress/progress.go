// Package progress shows the progress of long work: bars with rate and remaining time on a terminal,
// lines with a time elsewhere.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/flatcar/oem-sysext/oem/host/foreign"
)

// Display shows progress. Its methods may be called concurrently.
type Display struct {
	out      io.Writer
	terminal bool
	start    time.Time

	mu sync.Mutex
}

// New returns a display that draws bars if out is a terminal, and plain lines otherwise.
func New(out io.Writer) *Display {
	file, isFile := out.(*os.File)
	return &Display{out: out, terminal: isFile && term.IsTerminal(int(file.Fd())), start: time.Now()}
}

// Say writes one line, which may quote others (package foreign), with the time since the start.
func (d *Display) Say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	erase := ""
	if d.terminal {
		erase = "\r\033[K" // a bar may be on this line
	}
	fmt.Fprintf(d.out, "%s%6.1fs  %s\n", erase, time.Since(d.start).Seconds(), foreign.Text(fmt.Sprintf(format, args...)))
}

// Step is a part of the work, of a known amount.
type Step struct {
	display *Display
	name    string
	start   time.Time
	bar     *progressbar.ProgressBar // nil when the display writes lines

	mu    sync.Mutex
	total int64
	done  int64
}

// Bytes starts a step counted in bytes.
func (d *Display) Bytes(name string, total int64) *Step {
	return d.begin(name, total, progressbar.OptionShowBytes(true))
}

// Items starts a step counted in items.
func (d *Display) Items(name string, total int) *Step {
	return d.begin(name, int64(total), progressbar.OptionShowIts())
}

func (d *Display) begin(name string, total int64, count progressbar.Option) *Step {
	s := &Step{display: d, name: name, start: time.Now(), total: total}
	if d.terminal {
		s.bar = progressbar.NewOptions64(total, count,
			progressbar.OptionSetDescription(name),
			progressbar.OptionSetWriter(d.out),
			progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	return s
}

// Grow increases the total.
func (s *Step) Grow(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total += n
	if s.bar != nil {
		s.bar.ChangeMax64(s.total)
	}
}

// Add counts finished work.
func (s *Step) Add(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done += n
	if s.bar != nil {
		// A failure to draw must not stop the work.
		_ = s.bar.Add64(n)
	}
}

// Write counts the bytes, so that a step can be the writer of an io.TeeReader.
func (s *Step) Write(p []byte) (int, error) {
	s.Add(int64(len(p)))
	return len(p), nil
}

// End closes the step and prints how long it took, unless it did nothing.
func (s *Step) End() {
	s.mu.Lock()
	done := s.done
	if s.bar != nil {
		_ = s.bar.Finish()
	}
	s.mu.Unlock()
	if done > 0 {
		s.display.Say("%s done in %.1fs", s.name, time.Since(s.start).Seconds())
	}
}
