package boot

import (
	"reflect"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

func TestMachinesShareTheHost(t *testing.T) {
	whole := vm.TCG(nil, arch.AMD64)
	if reflect.DeepEqual(whole, whole.Shared()) {
		t.Fatal("a machine that shares the host is like one that has it to itself")
	}
	for _, c := range []struct{ jobs, i, all int }{{2, 0, 3}, {2, 1, 3}, {2, 2, 3}, {1, 0, 1}, {1, 0, 3}} {
		want := whole.Shared()
		if c.jobs == 1 || c.i == c.all-1 {
			want = whole
		}
		p := &Prover{Accel: whole, Jobs: c.jobs}
		if got := p.Nth(c.i, c.all).Accel; !reflect.DeepEqual(got, want) {
			t.Errorf("%d at a time, number %d of %d: %+v", c.jobs, c.i, c.all, got)
		}
		if !reflect.DeepEqual(p.Accel, whole) {
			t.Error("the prover has changed")
		}
	}
}
