package ci

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/release/care"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Annotate checks recipes, lock files and platforms, and writes a command for each mistake by which GitHub's runner marks the line in a
// pull request. out takes commands, so it must be the runner's, and nothing may escape them.
func Annotate(o setup.Options, out io.Writer) error {
	_, err := definition.Platforms(rooted.Files(o.Checkout))
	if err == nil {
		err = care.CheckLocks(o.Checkout, setup.DefaultBase)
	}
	var mistakes strictyaml.Mistakes
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mistakes):
		for _, m := range mistakes {
			fmt.Fprintf(out, "::error file=%s,line=%d::%s\n", property(m.File), m.Line, message(m.Text))
		}
	default:
		fmt.Fprintf(out, "::error::%s\n", message(err.Error()))
	}
	return err
}

// message escapes the text of a command, as docs.github.com, "Workflow commands", says of line breaks. What others wrote stays in it.
func message(text string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(foreign.Text(text))
}

// property escapes a value before the text.
func property(text string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(message(text))
}
