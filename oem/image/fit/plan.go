package fit

import (
	"context"
	"math"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/oem/image/rung"
)

// Planner makes plans.
type Planner struct {
	Calibration *Calibration
	Budgets     []budget.Budget // those that what is embedded counts in; Used is what was used before
	OEM         size.Bytes      // what an OEM partition has for one image
	Jobs        int             // how many images are packed at a time
	// Measure packs an item as one of its options says, or recalls what it took.
	Measure func(ctx context.Context, item, option int) (Taken, error)
}

// demotion is what it counts for when a platform does not get its first placement, in microseconds of reading:
// more than any read takes, since it loses the rollback, too.
const demotion = 1e9

// Plan chooses an option for each item. The sum of what the platforms read is the least possible within the budgets.
//
// Only options that can still matter are packed. First each item is packed at the reference rung; what the others take
// is at least that times the least ratio that was ever seen, which the calibration has. The best plan with these
// bounds is found, the options in it that were only bounded are packed, and so on, until the best plan has none of these:
// then no other one can be better, for its options take no less than their bounds.
//
// Errors are *OverBudgetError, *TooLargeError, and those of Measure.
func (p *Planner) Plan(ctx context.Context, items []Item) (Plan, error) {
	s := &survey{Planner: p, items: items, taken: map[key]Taken{}}
	if err := s.measure(ctx, s.references()); err != nil {
		return Plan{}, err
	}
	for {
		choices, options := s.choices()
		if i := slices.IndexFunc(choices, func(c []Choice) bool { return len(c) == 0 }); i >= 0 {
			return Plan{}, s.tooLarge(ctx, i)
		}
		chosen, fits := Solve(s.left(), choices)
		if !fits {
			return Plan{}, s.overBudget(ctx)
		}
		for i := range chosen {
			chosen[i] = options[i][chosen[i]]
		}
		open := s.unmeasured(chosen)
		if len(open) == 0 {
			return s.plan(chosen), nil
		}
		if err := s.measure(ctx, open); err != nil {
			return Plan{}, err
		}
	}
}

// survey is what is known about the options while a plan is made.
type survey struct {
	*Planner
	items []Item
	taken map[key]Taken
}

type key struct{ item, option int }

// references are the options that all bounds start from: one for each item and placement.
func (s *survey) references() []key {
	var keys []key
	for i, item := range s.items {
		for o, option := range item.Options {
			if option.Rung == rung.Default {
				keys = append(keys, key{i, o})
			}
		}
	}
	return keys
}

func (s *survey) measure(ctx context.Context, keys []key) error {
	found := make([]Taken, len(keys))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, s.Jobs))
	for n, k := range keys {
		group.Go(func() (err error) {
			found[n], err = s.Measure(ctx, k.item, k.option)
			return err
		})
	}
	err := group.Wait()
	for n, k := range keys {
		s.taken[k] = found[n]
	}
	return err
}

// least returns what an option takes, or what it takes at least as long as it was not packed.
func (s *survey) least(k key) Taken {
	if taken, measured := s.taken[k]; measured {
		return taken
	}
	options := s.items[k.item].Options
	reference := slices.IndexFunc(options, func(o Option) bool {
		return o.Rung == rung.Default && o.Placement == options[k.option].Placement
	})
	known := s.taken[key{k.item, reference}]
	rate := s.Calibration.Rungs[options[k.option].Rung.String()]
	return Taken{rate.LeastSize.of(known.Size), rate.LeastCost.of(known.Cost)}
}

// choices returns, for each item, the options that fit into the room it has for itself, and their indexes.
func (s *survey) choices() ([][]Choice, [][]int) {
	choices, indexes := make([][]Choice, len(s.items)), make([][]int, len(s.items))
	for i, item := range s.items {
		for o, option := range item.Options {
			taken := s.least(key{i, o})
			if option.Placement.Whole() && taken.Size > s.OEM {
				continue
			}
			choice := Choice{Size: taken.Size}
			choice.Read = s.Calibration.Read(option.Rung, option.Unpacked) * int64(item.Activations)
			if option.Demoted {
				choice.Read += demotion
			}
			if option.Placement.Embedded() {
				choice.Takes = taken.Cost
			}
			choices[i], indexes[i] = append(choices[i], choice), append(indexes[i], o)
		}
	}
	return choices, indexes
}

// left is what the tightest budget has left. What is embedded counts alike in all of them, so the others are kept to as well.
func (s *survey) left() size.Bytes {
	left := size.Bytes(math.MaxInt64)
	for _, b := range s.Budgets {
		left = min(left, b.Left())
	}
	return left
}

func (s *survey) unmeasured(chosen []int) []key {
	var open []key
	for i, o := range chosen {
		if _, measured := s.taken[key{i, o}]; !measured {
			open = append(open, key{i, o})
		}
	}
	return open
}

func (s *survey) plan(chosen []int) Plan {
	plan := Plan{Budgets: slices.Clone(s.Budgets)}
	for i, o := range chosen {
		option, taken := s.items[i].Options[o], s.taken[key{i, o}]
		plan.Decisions = append(plan.Decisions, Decision{o, taken, s.Calibration.Read(option.Rung, option.Unpacked)})
		if option.Placement.Embedded() {
			for b := range plan.Budgets {
				plan.Budgets[b].Used += taken.Cost
			}
		}
	}
	return plan
}

// smallest packs an item at every rung that could be the smallest one, and returns that one's option.
func (s *survey) smallest(ctx context.Context, item int, where func(budget.Placement) bool, amount func(Taken) size.Bytes) (int, error) {
	best := -1
	for {
		for o, option := range s.items[item].Options {
			if where(option.Placement) && (best < 0 || amount(s.least(key{item, o})) < amount(s.least(key{item, best}))) {
				best = o
			}
		}
		if _, measured := s.taken[key{item, best}]; measured {
			return best, nil
		}
		if err := s.measure(ctx, []key{{item, best}}); err != nil {
			return 0, err
		}
	}
}

// allSmallest returns, for each item, what it takes of /usr at the rung at which that is least.
func (s *survey) allSmallest(ctx context.Context) ([]Smallest, error) {
	all := make([]Smallest, len(s.items))
	for i, item := range s.items {
		all[i].Name = item.Name
		if !slices.ContainsFunc(item.Options, func(o Option) bool { return o.Placement.Embedded() }) {
			continue
		}
		o, err := s.smallest(ctx, i, budget.Placement.Embedded, func(t Taken) size.Bytes { return t.Cost })
		if err != nil {
			return nil, err
		}
		all[i].Rung, all[i].Taken, all[i].Unpacked = item.Options[o].Rung, s.taken[key{i, o}], item.Options[o].Unpacked
	}
	return all, nil
}

func (s *survey) overBudget(ctx context.Context) error {
	all, err := s.allSmallest(ctx)
	if err != nil {
		return err
	}
	over := &OverBudgetError{Budgets: slices.Clone(s.Budgets), Smallest: all}
	for i := range over.Budgets {
		for _, small := range all {
			over.Budgets[i].Used += small.Cost
		}
	}
	return over
}

func (s *survey) tooLarge(ctx context.Context, item int) error {
	o, err := s.smallest(ctx, item, budget.Placement.Whole, func(t Taken) size.Bytes { return t.Size })
	if err != nil {
		return err
	}
	return &TooLargeError{s.items[item].Name, s.items[item].Options[o].Rung, s.taken[key{item, o}].Size, s.OEM}
}
