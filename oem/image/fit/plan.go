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
	Budgets     []budget.Budget // the budgets of embedded images; Used is without them
	OEM         size.Bytes      // space for one image in an OEM partition
	Jobs        int             // images packed concurrently
	// Measure returns the space that an item takes with an option, by packing it or from the cache.
	Measure func(ctx context.Context, item, option int) (Taken, error)
}

// demotion is the penalty, in microseconds of reading, if a platform does not get its first placement:
// more than any read takes, since the platform also loses the rollback.
const demotion = 1e9

// Plan chooses an option for each item, with the least total read time over all platforms within the budgets.
//
// Only options that may be in the best plan are packed. First each item is packed at the reference rung; the calibration has
// the smallest size ratio ever seen for each other rung, which gives a lower bound. The best plan with these bounds is found
// and its bounded options are packed, until the best plan has none left. It is optimal: no option takes less than its bound.
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

// survey has the measured sizes while a plan is made.
type survey struct {
	*Planner
	items []Item
	taken map[key]Taken
}

type key struct{ item, option int }

// references are the options that bounds are computed from: one for each item and placement.
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

// least returns the space that an option takes, or a lower bound if it was not packed yet.
func (s *survey) least(k key) Taken {
	if taken, measured := s.taken[k]; measured {
		return taken
	}
	bound := s.bound(k)
	return Taken{inBlocks(bound.Size), inBlocks(bound.Cost)}
}

// bound returns a lower bound of the space that an option takes. That of the reference rung is what was measured.
func (s *survey) bound(k key) Taken {
	options := s.items[k.item].Options
	reference := slices.IndexFunc(options, func(o Option) bool {
		return o.Rung == rung.Default && o.Placement == options[k.option].Placement
	})
	known := s.taken[key{k.item, reference}]
	if k.option == reference {
		return known
	}
	rate := s.Calibration.Rungs[options[k.option].Rung.String()]
	return Taken{rate.LeastSize.of(known.Size), rate.LeastCost.of(known.Cost)}
}

// inBlocks rounds up to whole blocks: images consist of them, and so does what they take of /usr. So no rung promises less than the one
// block that most platforms' own images have.
func inBlocks(n size.Bytes) size.Bytes {
	const unit = 4 * size.KiB
	return (n + unit - 1) / unit * unit
}

// choices returns, for each item, the options that fit the OEM partition if they go there, and their indexes.
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

// left is the space left in the tightest budget. Embedded images count equally in all budgets, so it decides.
func (s *survey) left() size.Bytes {
	left := size.Bytes(math.MaxInt64)
	for _, b := range s.Budgets {
		left = min(left, b.Left())
	}
	return left
}

// leastOfAll adds the bounds of all items that can be embedded.
func (s *survey) leastOfAll() (all size.Bytes) {
	for i, item := range s.items {
		least := size.Bytes(-1)
		for o, option := range item.Options {
			if bound := s.bound(key{i, o}); option.Placement.Embedded() && (least < 0 || bound.Cost < least) {
				least = bound.Cost
			}
		}
		all += max(0, least)
	}
	return all
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
	plan := Plan{Budgets: slices.Clone(s.Budgets), Least: s.leastOfAll()}
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

// smallest packs an item at every rung that may be the smallest, and returns the smallest option.
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

// allSmallest returns, for each item, the least space it can take in /usr.
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
