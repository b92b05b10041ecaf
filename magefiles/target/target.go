// Package target runs the work of targets: it reads the options and sets the exit code.
package target

import (
	"errors"
	"io"
	"os"

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
	err = foreign.Error(work(o))
	var known interface {
		error
		ExitStatus() int
	}
	if errors.As(err, &known) {
		return mg.Fatal(known.ExitStatus(), err)
	}
	return err
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
