package target

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
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

// TestSignals says that a run that was told to end does not end well, and gets the chance to clean up.
func TestSignals(t *testing.T) {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT) // as mage does
	defer signal.Stop(interrupted)
	for s, status := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		err := With(func(setup.Options) error {
			if err := syscall.Kill(os.Getpid(), s); err != nil {
				t.Fatal(err)
			}
			<-interrupted
			return errors.New("cancelled")
		})
		var known interface{ ExitStatus() int }
		if !errors.As(err, &known) || known.ExitStatus() != status {
			t.Errorf("%v: error is %v; wanted the status %d", s, err, status)
		}
	}
}
