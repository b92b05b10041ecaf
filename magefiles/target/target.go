// Package target runs the work of targets: it reads the options and sets the exit code.
package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/magefile/mage/mg"

	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/publish/ci"
	"github.com/flatcar/oem-sysext/release/setup"
)

// With runs the work of a target with the options from the environment. A signal that asks the run to end cancels the work's context.
//
// If an error in the chain has an exit status, the run exits with it: 3 means that a budget is exceeded.
func With(ctx context.Context, work func(ctx context.Context, o setup.Options) error) error {
	o, err := setup.FromEnvironment(".")
	if err != nil {
		return err
	}
	verbose := o.Verbose || mg.Verbose()
	if verbose {
		ctx = run.Watched(ctx, func(command string) { o.Progress.Say("%s", command) })
	}
	o.ExpectDuration(os.Args[1:])
	signals := catch(ctx)
	err = work(signals.ctx, o)
	o.Progress.Close()
	if err == nil {
		if unkept := o.KeepDuration(os.Args[1:]); unkept != nil {
			o.Log.Warn("could not keep how long this took", "error", unkept)
		}
	}
	if got := signals.stop(); err != nil && got != 0 {
		return mg.Fatal(128+int(got), endings[got])
	}
	if over := (*plan.OverBudgetError)(nil); errors.As(err, &over) {
		path, writing := ci.Refused(o, over)
		err = errors.Join(err, writing)
		if writing == nil {
			err = fmt.Errorf("%w\nThis is also in %s.", err, path) //nolint:revive,staticcheck // the last of several sentences
		}
	}
	if verbose {
		err = withCommands(err)
	}
	if hint := hint(err); hint != "" {
		err = fmt.Errorf("%w\n%s", err, hint)
	}
	err = foreign.Error(err)
	var known interface {
		error
		ExitStatus() int
	}
	if errors.As(err, &known) {
		return mg.Fatal(known.ExitStatus(), err)
	}
	return err
}

// hint says what to do about what is wrong with the machine, not with the work.
func hint(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "No space left on device"): // as other programs say it
		return "A disk is full: make room where CACHE and OUTPUT are, or set them to a larger disk, and run again."
	case errors.Is(err, fetch.ErrUnreachable):
		return "Check the network, and https_proxy if there is one, and run again: what was downloaded is kept."
	}
	return ""
}

// endings says how a run ended that a signal has ended.
var endings = map[syscall.Signal]string{
	syscall.SIGINT:  "interrupted; run again to go on",
	syscall.SIGTERM: "ended by SIGTERM; run again to go on",
	syscall.SIGHUP:  "ended by SIGHUP, as its terminal was closed; run again to go on",
}

// caught is a context that ends with the first signal that asks the run to end. The second one ends the process.
type caught struct {
	ctx    context.Context
	cancel context.CancelFunc
	come   chan os.Signal
	got    atomic.Int32
}

func catch(parent context.Context) *caught {
	// Mage's own way ends the process after five seconds, and says more than there is to say.
	signal.Reset(syscall.SIGINT)
	c := &caught{come: make(chan os.Signal, 1)}
	c.ctx, c.cancel = context.WithCancel(parent)
	for s := range endings {
		if !signal.Ignored(s) { // nohup(1)
			signal.Notify(c.come, s)
		}
	}
	go func() {
		select {
		case s := <-c.come:
			c.got.Store(int32(s.(syscall.Signal)))
			signal.Stop(c.come)
			c.cancel()
		case <-c.ctx.Done():
		}
	}()
	return c
}

// stop returns the signal that came, or 0.
func (c *caught) stop() syscall.Signal {
	signal.Stop(c.come)
	c.cancel()
	return syscall.Signal(c.got.Load())
}

// withCommands adds the command lines of all programs that failed.
func withCommands(err error) error {
	for _, c := range commands(err) {
		err = fmt.Errorf("%w\ncommand: %s", err, c)
	}
	return err
}

func commands(err error) []string {
	if failed, is := err.(*run.Error); is { //nolint:errorlint // all of them are looked for, not the first one
		return []string{failed.Command()}
	}
	var all []string
	switch e := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() error }:
		return commands(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			all = append(all, commands(one)...)
		}
	}
	return all
}

// Out returns standard output for what targets print, which may quote others.
func Out() io.Writer { return foreign.Writer(os.Stdout) }

// For is With for one platform.
func For(ctx context.Context, id string, work func(ctx context.Context, o setup.Options) error) error {
	return With(ctx, func(ctx context.Context, o setup.Options) error {
		o.Platforms = []string{id}
		return work(ctx, o)
	})
}
