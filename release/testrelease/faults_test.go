package testrelease

import (
	"context"
	stdflag "flag"
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/flatcar/flatcartest"
	"github.com/flatcar/oem-sysext/release/format/sums"
	"github.com/flatcar/oem-sysext/release/prove/faults"
	"github.com/flatcar/oem-sysext/release/publish/ci"
)

var faultSeed = stdflag.Uint64("seed", 1, "of the faults that releases are disturbed by")

// A release is killed, and its cache damaged.
func TestReleaseIsDisturbed(t *testing.T) { disturb(t, 2) }

// disturb makes faults in a release of a small base: nothing of them stays, and the next run makes the same bytes.
func disturb(t *testing.T, n int) {
	t.Helper()
	Needs(t)
	o := Fresh(t)
	o.Checkout, o.BaseID, o.Version = goldenCheckout(t), goldenBase(t, goldenUsr(t, flatcartest.Version)), flatcartest.Version
	r, err := release.Open(t.Context(), o) // so that tools and base are there
	if err != nil {
		t.Fatal(err)
	}
	r.Bench.Close()
	subject := faults.Subject{
		Command: func(cache, output string) *exec.Cmd {
			child := childOf(o, "assemble", ci.Part{})
			child.Cache, child.Output = cache, output
			return child.command(context.Background(), io.Discard) // Run ends it
		},
		Sums:  filepath.Join(o.Version, string(o.Arch), sums.FileName),
		Cache: o.Cache, Scratch: t.TempDir(),
	}
	held, err := faults.Run(t.Context(), subject, *faultSeed, n, func(one faults.Outcome) {
		t.Logf("%s: the run said: %v", one.Fault, one.Said)
		if one.Wrong != nil {
			t.Errorf("%s: %v", one.Fault, one.Wrong)
		}
	})
	if err != nil || held != n {
		t.Errorf("%d of %d faults held, %v", held, n, err)
	}
}
