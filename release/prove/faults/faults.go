// Package faults disturbs runs that make a release, and asserts that the next run is none the worse for it.
//
// In: a command that makes a release, and a cache with what it downloads and bootstraps. Out: for each fault what happened, and whether
// it held: a disturbed run fails, with a status that says so, or makes the release; nothing of it stays mounted, attached, running or in the
// scratch directory; and the next run gives the bytes of an undisturbed one.
package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/foreign"
)

// Subject is what is disturbed.
type Subject struct {
	// Command returns a process that makes the release, with a cache and an output directory. Nobody has started it yet.
	Command func(cache, output string) *exec.Cmd
	// Sums is the file with the digests of the release, below the output directory.
	Sums string
	// Cache has tools-*, base-*, downloads and development-key, which are only read.
	Cache string
	// Scratch is a directory to work in.
	Scratch string
}

// Outcome is one fault and what came of it.
type Outcome struct {
	Fault string // with what was chosen at random
	Said  error  // what the disturbed run ended with; nil when it made the release all the same
	Wrong error  // nil when the fault left nothing
}

// disturber makes faults of one subject.
type disturber struct {
	Subject
	random *rand.Rand
	whole  time.Duration // that an undisturbed run takes
	size   int64         // of the release directory
	want   digest.SHA256 // of an undisturbed release's sums
}

// fault disturbs one run in a directory of its own, which has a cache and a place for outputs. It says what it did, what the run ended
// with, and what is wrong already.
type fault func(ctx context.Context, d *disturber, in place) (what string, said, wrong error)

// kinds are all faults, in the order in which they are made.
var kinds = []fault{
	sent(syscall.SIGKILL), flippedBlob, sent(syscall.SIGTERM), fullOutput, sent(syscall.SIGINT), twoAtOnce, sent(syscall.SIGHUP), flippedResult, fullCache,
}

// Run makes n faults, the kinds in turn, with all else chosen by the seed. report is told of each.
func Run(ctx context.Context, s Subject, seed uint64, n int, report func(Outcome)) (held int, err error) {
	d := &disturber{Subject: s, random: rand.New(rand.NewPCG(seed, seed))} //nolint:gosec // chosen by a seed on purpose
	if err := d.undisturbed(ctx); err != nil {
		return 0, fmt.Errorf("the undisturbed run: %w", err)
	}
	for i := range n {
		outcome, err := d.one(ctx, kinds[i%len(kinds)])
		if err != nil {
			return held, err
		}
		if outcome.Wrong == nil {
			held++
		}
		report(outcome)
	}
	return held, nil
}

// place is where a run and those after it work.
type place struct{ dir, cache, output string }

// newPlace returns a place with a cache that has nothing but what is expensive to get.
func (d *disturber) newPlace() (p place, err error) {
	if p.dir, err = os.MkdirTemp(d.Scratch, "fault."); err != nil {
		return p, err
	}
	p.cache, p.output = filepath.Join(p.dir, "cache"), filepath.Join(p.dir, "output")
	return p, errors.Join(os.Mkdir(p.cache, 0o755), d.fill(p.cache))
}

// fill links what is only read into a cache.
func (d *disturber) fill(cache string) error {
	for _, pattern := range []string{"tools-*", "base-*", "downloads", "development-key"} {
		found, err := filepath.Glob(filepath.Join(d.Cache, pattern))
		if err != nil {
			return err
		}
		for _, path := range found {
			if err := os.Symlink(path, filepath.Join(cache, filepath.Base(path))); err != nil {
				return err
			}
		}
	}
	return nil
}

// undisturbed measures a run that nothing disturbs.
func (d *disturber) undisturbed(ctx context.Context) error {
	p, err := d.newPlace()
	if err != nil {
		return err
	}
	defer os.RemoveAll(p.dir)
	start := time.Now()
	if err := d.run(ctx, p); err != nil {
		return err
	}
	d.whole = time.Since(start)
	if d.want, err = d.sums(p); err != nil {
		return err
	}
	d.size, err = sizeBelow(p.output)
	return err
}

// one makes a fault, and then a run that must be as if nothing had been.
func (d *disturber) one(ctx context.Context, disturb fault) (Outcome, error) {
	p, err := d.newPlace()
	if err != nil {
		return Outcome{}, err
	}
	defer os.RemoveAll(p.dir)
	what, said, wrong := disturb(ctx, d, p)
	outcome := Outcome{Fault: what, Said: said, Wrong: errors.Join(wrong, d.wholeOrNone(said, p), stays(p.dir))}
	if outcome.Wrong == nil {
		outcome.Wrong = d.recovers(ctx, p)
	}
	return outcome, ctx.Err()
}

// recovers runs again, and compares.
func (d *disturber) recovers(ctx context.Context, p place) error {
	if err := d.run(ctx, p); err != nil {
		return fmt.Errorf("the run after it fails: %w", err)
	}
	got, err := d.sums(p)
	if err == nil && got != d.want {
		err = fmt.Errorf("the run after it makes another release, whose %s has sha256 %v; wanted %v", d.Sums, got, d.want)
	}
	return errors.Join(err, stays(p.dir), noScratch(p.cache))
}

// wholeOrNone refuses a run without a release that ended as if it had made one, and any other release than the whole one.
func (d *disturber) wholeOrNone(said error, p place) error {
	switch got, err := d.sums(p); {
	case errors.Is(err, fs.ErrNotExist) && said == nil:
		return errors.New("it ended with status 0, and there is no release")
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && got != d.want:
		return errors.New("it left another release")
	default:
		return err
	}
}

// run makes the release, or says why it did not.
func (d *disturber) run(ctx context.Context, p place) error {
	return d.during(ctx, p, func(*os.Process) (stop func()) { return func() {} })
}

// during makes the release, and does something meanwhile.
func (d *disturber) during(ctx context.Context, p place, meanwhile func(*os.Process) (stop func())) error {
	c := d.Command(p.cache, p.output)
	var said lastLine
	c.Stderr = &said
	if err := c.Start(); err != nil {
		return err
	}
	kill := context.AfterFunc(ctx, func() { _ = c.Process.Kill() })
	defer kill()
	stop := meanwhile(c.Process)
	defer stop()
	if err := c.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

// lastLine keeps the last line that is written and not empty.
type lastLine []byte

func (l *lastLine) Write(p []byte) (int, error) {
	*l = append(*l, p...)
	if end := bytes.TrimRight(*l, "\n"); bytes.Contains(end, []byte("\n")) {
		*l = bytes.Clone((*l)[bytes.LastIndexByte(end, '\n')+1:])
	}
	return len(p), nil
}

func (l lastLine) String() string { return foreign.Line(string(bytes.TrimSpace(l))) }

func (d *disturber) sums(p place) (digest.SHA256, error) {
	sum, _, err := digest.OfFile(filepath.Join(p.output, d.Sums))
	return sum, err
}

// moment is a random part of the time that a run takes.
func (d *disturber) moment() time.Duration {
	return time.Duration(d.random.Int64N(int64(d.whole)))
}
