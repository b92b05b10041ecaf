package fit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/oem/image/rung"
)

// The rungs of these tests: fast and large, the reference, slow and small.
var (
	fast   = rung.Rung{Filesystem: rung.EROFS}
	middle = rung.Default
	slow   = rung.Rung{Filesystem: rung.SquashFS, Compressor: "xz", Block: 1 * size.MiB}
	tested = []rung.Rung{fast, middle, slow}
)

var calibrated = &Calibration{Rungs: map[string]Rate{
	fast.String():   {MBPerSecond: 400, LeastSize: 130, LeastCost: 100},
	middle.String(): {MBPerSecond: 250, LeastSize: 90, LeastCost: 90},
	slow.String():   {MBPerSecond: 40, LeastSize: 60, LeastCost: 60},
}}

// world has what packing would give.
type world struct {
	items  []Item
	taken  [][]Taken
	mu     sync.Mutex
	packed map[string]int
}

func (w *world) measure(_ context.Context, item, option int) (Taken, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.packed[fmt.Sprint(item, option)]++
	return w.taken[item][option], nil
}

// newWorld makes items whose sizes keep to the calibration's bounds.
func newWorld(rng *rand.Rand, images int, places ...budget.Placement) *world {
	w := &world{packed: map[string]int{}}
	for i := range images {
		item := Item{Name: fmt.Sprintf("oem-%d", i), Activations: 1 + rng.IntN(3)}
		var taken []Taken
		for n, place := range places {
			unpacked := size.Bytes(1+rng.IntN(40)) * size.MiB
			reference := unpacked / 3
			for _, rung := range tested {
				least := calibrated.Rungs[rung.String()]
				t := Taken{least.LeastSize.of(reference), least.LeastCost.of(reference)}
				if rung == middle {
					t = Taken{reference, reference}
				} else {
					t.Size += size.Bytes(rng.IntN(int(reference / 4)))
					t.Cost += size.Bytes(rng.IntN(int(reference / 4)))
				}
				t = Taken{inBlocks(t.Size), inBlocks(t.Cost)}
				item.Options = append(item.Options, Option{Rung: rung, Placement: place, Unpacked: unpacked, Demoted: n > 0})
				taken = append(taken, t)
			}
		}
		w.items, w.taken = append(w.items, item), append(w.taken, taken)
	}
	return w
}

// best solves with everything known.
func (w *world) best(limit size.Bytes) (read int64, fits bool) {
	choices := make([][]Choice, len(w.items))
	for i, item := range w.items {
		for o, option := range item.Options {
			t := w.taken[i][o]
			c := Choice{Read: calibrated.Read(option.Rung, option.Unpacked) * int64(item.Activations), Size: t.Size}
			if option.Placement.Embedded() {
				c.Takes = t.Cost
			}
			if option.Demoted {
				c.Read += demotion
			}
			choices[i] = append(choices[i], c)
		}
	}
	plan, fits := Solve(limit, choices)
	if !fits {
		return 0, false
	}
	read, _, _ = sum(choices, plan)
	return read, true
}

func (w *world) read(p Plan) (read int64) {
	for i, d := range p.Decisions {
		read += d.Read * int64(w.items[i].Activations)
		if w.items[i].Options[d.Option].Demoted {
			read += demotion
		}
	}
	return read
}

// A plan that packs only what can matter is as good as one that knows what everything takes.
func TestLazyPlanIsBest(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	fitted, over, packed, options := 0, 0, 0, 0
	for n := range 300 {
		places := [][]budget.Placement{{budget.InUsr}, {budget.InUsr, budget.OnOEM}}[n%2]
		w := newWorld(rng, 1+rng.IntN(8), places...)
		limit := size.Bytes(rng.IntN(100)) * size.MiB
		p := &Planner{Calibration: calibrated, Budgets: []budget.Budget{{Name: "/usr", Limit: limit + size.MiB, Used: size.MiB}}, OEM: size.GiB, Jobs: 2, Measure: w.measure}
		plan, err := p.Plan(t.Context(), w.items)
		want, fits := w.best(limit)
		if tooMuch := (*OverBudgetError)(nil); errors.As(err, &tooMuch) != !fits {
			t.Fatalf("error is %v; fits: %v", err, fits)
		}
		if !fits {
			over++
			continue
		}
		fitted++
		if got := w.read(plan); got != want {
			t.Fatalf("plan reads %d µs; the best one %d", got, want)
		}
		if used := plan.Budgets[0].Used; used > limit+size.MiB || used < size.MiB {
			t.Fatalf("%v of %v is used", used, limit)
		}
		for key, times := range w.packed {
			if times > 1 {
				t.Fatalf("option %s was packed %d times", key, times)
			}
		}
		packed += len(w.packed)
		options += len(w.items) * len(w.items[0].Options)
	}
	if fitted < 100 || over < 10 || packed*10 > options*9 {
		t.Errorf("%d fitted, %d did not, %d of %d options were packed", fitted, over, packed, options)
	}
}

func TestWithRoomOnlyTheFastestIsPacked(t *testing.T) {
	w := newWorld(rand.New(rand.NewPCG(1, 1)), 10, budget.InUsr)
	p := &Planner{Calibration: calibrated, Budgets: []budget.Budget{{Name: "/usr", Limit: size.GiB}}, Jobs: 2, Measure: w.measure}
	plan, err := p.Plan(t.Context(), w.items)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range plan.Decisions {
		if got := w.items[i].Options[d.Option].Rung; got != fast {
			t.Errorf("%s is packed as %v", w.items[i].Name, got)
		}
	}
	if len(w.packed) != 20 { // the reference, and the fastest
		t.Errorf("%d options were packed for 10 images", len(w.packed))
	}
}

// An image of one block does not get smaller at any rung, so there is nothing to try.
func TestImagesOfOneBlockArePackedOnce(t *testing.T) {
	one := Taken{Size: 4 * size.KiB, Cost: 4 * size.KiB}
	w := &world{packed: map[string]int{}}
	for i := range 5 {
		item := Item{Name: fmt.Sprintf("oem-%d", i), Activations: 1}
		for _, rung := range tested {
			item.Options = append(item.Options, Option{Rung: rung, Placement: budget.InUsr, Unpacked: 20})
		}
		w.items, w.taken = append(w.items, item), append(w.taken, []Taken{one, one, one})
	}
	p := Planner{Calibration: calibrated, Measure: w.measure, Budgets: []budget.Budget{{Limit: 5 * one.Cost}}}
	if _, err := p.Plan(t.Context(), w.items); err != nil {
		t.Fatal(err)
	}
	if len(w.packed) != len(w.items) {
		t.Errorf("packed are %v; wanted each image at one rung", w.packed)
	}
}

func TestOverBudgetSaysHowMuch(t *testing.T) {
	w := newWorld(rand.New(rand.NewPCG(1, 1)), 3, budget.InUsr)
	p := &Planner{Calibration: calibrated, Budgets: []budget.Budget{{Name: "/usr", Limit: 1000}, {Name: "payload", Limit: size.GiB}}, Jobs: 2, Measure: w.measure}
	_, err := p.Plan(t.Context(), w.items)
	var over *OverBudgetError
	if !errors.As(err, &over) {
		t.Fatalf("error is %v", err)
	}
	var least size.Bytes
	for i := range w.items {
		if want := min(w.taken[i][0].Cost, w.taken[i][1].Cost, w.taken[i][2].Cost); over.Smallest[i].Cost != want {
			t.Errorf("%s takes %v at least; want %v", w.items[i].Name, over.Smallest[i].Cost, want)
		}
		least += over.Smallest[i].Cost
	}
	if got := over.Budgets[0].Left(); got != 1000-least {
		t.Errorf("%d B are left; want %d", got, 1000-least)
	}
	if text := err.Error(); !strings.Contains(text, fmt.Sprintf("%d B too much", least-1000)) || strings.Contains(text, "payload") {
		t.Error(text)
	}
}

func TestOEMPartitionIsForEachImage(t *testing.T) {
	w := newWorld(rand.New(rand.NewPCG(1, 1)), 1, budget.OnOEM)
	p := &Planner{Calibration: calibrated, Budgets: []budget.Budget{{Name: "/usr", Limit: 1}}, Measure: w.measure}
	p.OEM = w.taken[0][2].Size
	plan, err := p.Plan(t.Context(), w.items)
	if err != nil || w.items[0].Options[plan.Decisions[0].Option].Rung != slow || plan.Budgets[0].Used != 0 {
		t.Errorf("plan is %+v, %v", plan, err)
	}
	p.OEM--
	_, err = p.Plan(t.Context(), w.items)
	want := &TooLargeError{Name: "oem-0", Rung: slow, Size: p.OEM + 1, Room: p.OEM}
	var got *TooLargeError
	if !errors.As(err, &got) {
		t.Fatalf("error is %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMeasuringStopsAtAnError(t *testing.T) {
	w := newWorld(rand.New(rand.NewPCG(1, 1)), 2, budget.InUsr)
	broken := errors.New("disk is full")
	p := &Planner{Calibration: calibrated, Measure: func(context.Context, int, int) (Taken, error) { return Taken{}, broken }}
	if _, err := p.Plan(t.Context(), w.items); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
}

// TestLeast says that the bound holds for what was chosen, and that a larger budget does not move it.
func TestLeast(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		w := newWorld(rng, 6, budget.InUsr)
		var bounds []size.Bytes
		for _, limit := range []size.Bytes{26 * size.MiB, 32 * size.MiB, 40 * size.MiB, 60 * size.MiB, 200 * size.MiB} {
			p := &Planner{Calibration: calibrated, Budgets: []budget.Budget{{Name: "images", Limit: limit}}, OEM: size.GiB, Measure: w.measure}
			plan, err := p.Plan(t.Context(), w.items)
			if over := (*OverBudgetError)(nil); errors.As(err, &over) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if plan.Least <= 0 || plan.Least > plan.Budgets[0].Used {
				t.Errorf("the least is %v; %v are used", plan.Least, plan.Budgets[0].Used)
			}
			bounds = append(bounds, plan.Least)
		}
		if len(slices.Compact(bounds)) != 1 {
			t.Errorf("the least depends on the budget: %v", bounds)
		}
	}
}
