package target

import (
	"errors"
	"testing"

	"github.com/flatcar/oem-sysext/release/setup"
)

func TestErrorsAreSafeToPrint(t *testing.T) {
	cause := errors.New("script: exit status 1\n\x1b[2J::error::\n::add-mask::x")
	err := With(func(setup.Options) error { return cause })
	if !errors.Is(err, cause) || err.Error() != "script: exit status 1\n\\x1b[2J::error::\n\\x3a:add-mask::x" {
		t.Errorf("error is %q", err)
	}
}
