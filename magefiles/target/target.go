// Package target runs the work of targets: it reads the options and sets the exit code.
package target

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/magefile/mage/mg"

	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/release/setup"
)

// With runs the work of a target with the options from the environment.
//
// If an error in the chain has an exit status, the run exits with it: 3 means that a budget is exceeded.
func With(work func(o setup.Options) error) error {
	o, err := setup.FromEnvironment(".")
	if err != nil {
		return err
	}
	signals := forward()
	err = foreign.Error(work(o))
	if got := signals.stop(); err != nil && got != 0 {
		return mg.Fatalf(128+int(got), "ended by a signal (%v); run again to go on: %v", got, err)
	}
	var known interface {
		error
		ExitStatus() int
	}
	if errors.As(err, &known) {
		return mg.Fatal(known.ExitStatus(), err)
	}
	return err
}

// forwarded makes signals that ask a run to end do what Ctrl-C does, so that it cleans up first.
type forwarded struct {
	caught, done chan os.Signal
	got          atomic.Int32
}

func forward() *forwarded {
	f := &forwarded{caught: make(chan os.Signal, 1), done: make(chan os.Signal)}
	signal.Notify(f.caught, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup(1)
		signal.Notify(f.caught, syscall.SIGHUP)
	}
	go func() {
		select {
		case s := <-f.caught:
			f.got.Store(int32(s.(syscall.Signal)))
			_ = syscall.Kill(os.Getpid(), syscall.SIGINT) // mage cancels the work
		case <-f.done:
		}
	}()
	return f
}

// stop returns the signal that came, or 0.
func (f *forwarded) stop() syscall.Signal {
	signal.Stop(f.caught)
	close(f.done)
	return syscall.Signal(f.got.Load())
}

// Out returns standard output for what targets print, which may quote others.
func Out() io.Writer { return foreign.Writer(os.Stdout) }

// For is With for one platform.
func For(id string, work func(o setup.Options) error) error {
	return With(func(o setup.Options) error {
		o.Platforms = []string{id}
		return work(o)
	})
}
