package fit

import (
	"math"
	"slices"
)

// problem is to pick an option for each image so that the sums of amounts keep to the limits,
// and the sum of the first amount, the cost, is the least possible.
type problem struct {
	limits  []int64
	images  [][]option
	columns []int   // which of the caller's amounts are left
	units   []int64 // in which they are counted
}

type option struct {
	index   int     // in the caller's list
	amounts []int64 // the cost, then what it takes of each budget
	loss    float64 // what it costs at the prices beyond the image's cheapest option
}

// reduce makes the problem smaller without losing the best plans. It returns false if it finds that nothing fits.
func (p *problem) reduce() bool {
	if !p.removeImpossible() {
		return false
	}
	p.keepAmounts(append([]int{0}, p.tightBudgets()...))
	for i, options := range p.images {
		p.images[i] = undominated(options)
	}
	p.divide()
	return true
}

// removeImpossible counts each amount from the least one of its image, so that limits are for what is beyond that,
// and removes options that exceed a limit even if all other images take their least.
func (p *problem) removeImpossible() bool {
	for changed := true; changed; {
		changed = false
		for i := range p.images {
			p.images[i] = slices.DeleteFunc(p.images[i], func(o option) bool { return !noMore(o.amounts, p.limits) })
			if len(p.images[i]) == 0 {
				return false
			}
			for d := range p.limits {
				least := extreme(p.images[i], d, slices.Min)
				changed = changed || least > 0
				p.limits[d] -= least
				for _, o := range p.images[i] {
					o.amounts[d] -= least
				}
			}
		}
	}
	return true
}

// extreme is the least or the most that an image can take of one amount.
func extreme(options []option, d int, of func([]int64) int64) int64 {
	values := make([]int64, len(options))
	for i, o := range options {
		values[i] = o.amounts[d]
	}
	return of(values)
}

func (p *problem) keepAmounts(columns []int) {
	pick := func(from []int64) []int64 {
		var kept []int64
		for _, d := range columns {
			kept = append(kept, from[d])
		}
		return kept
	}
	p.columns, p.limits = columns, pick(p.limits)
	for _, options := range p.images {
		for i := range options {
			options[i].amounts = pick(options[i].amounts)
		}
	}
}

// tightBudgets returns the budgets that can be exceeded while all others are kept.
func (p *problem) tightBudgets() []int {
	var tight []int
	for d := 1; d < len(p.limits); d++ {
		left := p.limits[d]
		for _, options := range p.images {
			left -= extreme(options, d, slices.Max)
		}
		if left < 0 {
			tight = append(tight, d)
		}
	}
	var needed []int
	for _, d := range tight {
		if !p.covers(0, d) && !slices.ContainsFunc(tight, func(other int) bool { return p.covers(other, d) }) {
			needed = append(needed, d)
		}
	}
	return needed
}

// covers tells whether a plan within one budget is within another one as well.
func (p *problem) covers(tight, loose int) bool {
	if tight == loose || p.limits[tight] > p.limits[loose] {
		return false
	}
	equal := p.limits[tight] == p.limits[loose]
	for _, options := range p.images {
		for _, o := range options {
			if o.amounts[tight] < o.amounts[loose] {
				return false
			}
			equal = equal && o.amounts[tight] == o.amounts[loose]
		}
	}
	return !equal || tight < loose // of two that are the same, one counts
}

// undominated drops options of which no amount is less than that of another one.
func undominated(options []option) []option {
	slices.SortStableFunc(options, func(a, b option) int { return slices.Compare(a.amounts, b.amounts) })
	var kept []option
	for _, o := range options {
		if !slices.ContainsFunc(kept, func(k option) bool { return noMore(k.amounts, o.amounts) }) {
			kept = append(kept, o)
		}
	}
	return kept
}

func noMore(a, b []int64) bool {
	for d := range a {
		if a[d] > b[d] {
			return false
		}
	}
	return true
}

// divide counts each amount in the unit that all of them are multiples of, such as a block. The limits become whole
// numbers of it as well, and the bound then rounds up to one.
func (p *problem) divide() {
	for d := range p.limits {
		unit := int64(0)
		most := int64(0)
		for _, options := range p.images {
			for _, o := range options {
				unit = gcd(unit, o.amounts[d])
			}
			most += extreme(options, d, slices.Max)
		}
		unit = max(1, unit)
		p.units = append(p.units, unit)
		p.limits[d] = min(p.limits[d], most) / unit
		for _, options := range p.images {
			for _, o := range options {
				o.amounts[d] /= unit
			}
		}
	}
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// solve searches plans that cost little more than the bound, then twice as much more, until it finds one.
func (p *problem) solve(prices []float64) ([]int, bool) {
	bound, _ := p.at(prices)
	margin := p.margin(prices)
	p.setLosses(prices)
	if bound-margin > float64(p.limits[0]) {
		return nil, false
	}
	lowest := max(0, int64(math.Ceil(bound-margin)))
	for above := int64(0); ; above = 2*above + 1 {
		ceiling := min(lowest+above, p.limits[0])
		if plan := p.search(prices, bound-margin, lowest, ceiling); plan != nil {
			return plan, true
		}
		if ceiling == p.limits[0] {
			return nil, false
		}
	}
}
