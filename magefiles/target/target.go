// Package target has what all targets begin and end with.
package target

import (
	"errors"

	"github.com/magefile/mage/mg"

	"github.com/flatcar/oem-sysext/release/setup"
)

// With does the work of a target with the options that the environment chooses.
//
// An error that knows its exit status, wherever it is in the chain, ends the run with that: 3 says that something does not fit.
func With(work func(o setup.Options) error) error {
	o, err := setup.FromEnvironment(".")
	if err != nil {
		return err
	}
	err = work(o)
	var known interface {
		error
		ExitStatus() int
	}
	if errors.As(err, &known) {
		return mg.Fatal(known.ExitStatus(), err)
	}
	return err
}

// For is With for one platform.
func For(id string, work func(o setup.Options) error) error {
	return With(func(o setup.Options) error {
		o.Platforms = []string{id}
		return work(o)
	})
}
