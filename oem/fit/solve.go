package fit

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/flatcar/oem-sysext/oem/size"
)

// Choice is one way to deal with an image.
type Choice struct {
	Read  int64        // what it costs at boot, in microseconds, over all platforms that activate the image
	Size  size.Bytes   // of the packed image; decides between plans that read equally fast
	Takes []size.Bytes // what it takes of each budget
}

// Solve picks one choice for each image: no budget gets more than its limit, the sum of Read is the least possible,
// and of the plans that are equal in that, the sum of Size is the least possible. It returns the indexes of the choices,
// or false when nothing fits. The same problem always has the same answer.
//
// This is a multiple-choice knapsack problem. Prices for the budgets (Lagrange multipliers) give a bound on what is
// possible, from which most choices can be ruled out at once; what is left is searched as a list of partial plans,
// where one that takes more and costs more than another is dropped. It is exact whatever the prices are, and fast
// because they are good ones. All values must be from 0 to 2^50.
func Solve(limits []size.Bytes, images [][]Choice) ([]int, bool) {
	p := newProblem(limits, images)
	if p == nil {
		return nil, false
	}
	p.price()
	return p.search()
}

// problem is what is solved: costs in one number, without the budgets that cannot be exceeded
// and the choices that cannot be best.
type problem struct {
	limits []int64
	items  []item
	prices []float64 // of a byte of each budget
	bound  float64   // no plan costs less
	best   int64     // cost of the best plan known
	plan   []int     // that plan, by position in items; nil as long as none is known
}

type item struct {
	options []option
	least   []int64 // of each budget, over all options
}

type option struct {
	index int // in the caller's list
	cost  int64
	takes []int64
	loss  float64 // what it costs at the prices beyond the cheapest option
}

func newProblem(limits []size.Bytes, images [][]Choice) *problem {
	p := &problem{best: math.MaxInt64}
	binding := bindingBudgets(limits, images)
	for _, b := range binding {
		p.limits = append(p.limits, int64(limits[b]))
	}
	scale := newScale(images)
	for _, choices := range images {
		it := item{least: make([]int64, len(binding))}
		for index, c := range choices {
			o := option{index: index, cost: scale.cost(c)}
			for _, b := range binding {
				o.takes = append(o.takes, int64(c.Takes[b]))
			}
			it.options = append(it.options, o)
		}
		it.options = undominated(it.options)
		for d := range binding {
			least := int64(math.MaxInt64)
			for _, o := range it.options {
				least = min(least, o.takes[d])
			}
			it.least[d] = least
		}
		if len(it.options) == 0 {
			return nil
		}
		p.items = append(p.items, it)
	}
	for d, limit := range p.limits {
		for _, it := range p.items {
			limit -= it.least[d]
		}
		if limit < 0 {
			return nil
		}
	}
	return p
}

// bindingBudgets returns the budgets that some plan exceeds which keeps to the others.
func bindingBudgets(limits []size.Bytes, images [][]Choice) []int {
	var binding []int
	for b, limit := range limits {
		for _, choices := range images {
			most := size.Bytes(0)
			for _, c := range choices {
				most = max(most, c.Takes[b])
			}
			limit -= most
		}
		if limit < 0 {
			binding = append(binding, b)
		}
	}
	var tight []int
	for _, b := range binding {
		if !slices.ContainsFunc(binding, func(other int) bool { return covers(limits, images, other, b) }) {
			tight = append(tight, b)
		}
	}
	return tight
}

// covers tells whether a plan within one budget is within another one as well.
func covers(limits []size.Bytes, images [][]Choice, tight, loose int) bool {
	if tight == loose || limits[tight] > limits[loose] {
		return false
	}
	equal := limits[tight] == limits[loose]
	for _, choices := range images {
		for _, c := range choices {
			if c.Takes[tight] < c.Takes[loose] {
				return false
			}
			equal = equal && c.Takes[tight] == c.Takes[loose]
		}
	}
	return !equal || tight < loose // of two that are the same, one counts
}

// scale puts read time and size into one number, the size below the time so that all sizes together cannot reach it.
type scale struct {
	unit int64 // of sizes: what all of them are multiples of, usually a block
	up   int   // by how many bits times are shifted
	down int   // by how many bits sizes are, when too few are left for them
}

func newScale(images [][]Choice) scale {
	var s scale
	var reads, sizes int64
	for _, choices := range images {
		var read, bytes int64
		for _, c := range choices {
			read, bytes = max(read, c.Read), max(bytes, int64(c.Size))
			s.unit = gcd(s.unit, int64(c.Size))
		}
		reads, sizes = reads+read, sizes+bytes
	}
	s.unit = max(1, s.unit)
	s.up = bits.Len64(uint64(sizes / s.unit))
	s.down = max(0, s.up+bits.Len64(uint64(reads))-62)
	s.up -= s.down
	return s
}

func (s scale) cost(c Choice) int64 { return c.Read<<s.up | int64(c.Size)/s.unit>>s.down }

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// undominated drops options that cost and take at least as much as another one.
func undominated(options []option) []option {
	slices.SortStableFunc(options, func(a, b option) int { return cmp.Compare(a.cost, b.cost) })
	var kept []option
	for _, o := range options {
		if !slices.ContainsFunc(kept, func(k option) bool { return noMore(k.takes, o.takes) }) {
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

// priceRounds is how often the prices are adjusted one after the other.
// Each round comes closer to the best ones; with a single budget the first round finds them.
const priceRounds = 4

// price looks for prices that make the bound high, and for a plan on the way.
func (p *problem) price() {
	p.prices = make([]float64, len(p.limits))
	p.atPrices()
	for range priceRounds {
		for d := range p.limits {
			p.adjust(d)
		}
	}
	p.bound = p.atPrices()
	p.improve()
	for i := range p.items {
		options := p.items[i].options
		least := math.Inf(1)
		for _, o := range options {
			least = min(least, p.priced(o))
		}
		for j := range options {
			options[j].loss = p.priced(options[j]) - least
		}
	}
}

// adjust finds the price of one budget from which on the cheapest options keep to it, the others being as they are.
func (p *problem) adjust(d int) {
	low, high := 0.0, 1.0
	over := func(price float64) bool {
		p.prices[d] = price
		used := int64(0)
		for i := range p.items {
			used += p.cheapest(i).takes[d]
		}
		p.atPrices()
		return used > p.limits[d]
	}
	if !over(low) {
		return
	}
	for high < 1e30 && over(high) {
		low, high = high, high*4
	}
	for range 100 {
		middle := low + (high-low)/2
		if over(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	p.prices[d] = high
}

func (p *problem) priced(o option) float64 {
	sum := float64(o.cost)
	for d, price := range p.prices {
		sum += price * float64(o.takes[d])
	}
	return sum
}

func (p *problem) cheapest(i int) option {
	return slices.MinFunc(p.items[i].options, func(a, b option) int { return cmp.Compare(p.priced(a), p.priced(b)) })
}

// atPrices returns the bound at the current prices, and keeps the cheapest options as a plan where they fit.
func (p *problem) atPrices() float64 {
	bound, cost := 0.0, int64(0)
	left := slices.Clone(p.limits)
	plan := make([]int, len(p.items))
	for i := range p.items {
		o := p.cheapest(i)
		bound += p.priced(o)
		cost += o.cost
		plan[i] = o.index
		subtract(left, o.takes)
	}
	for d, price := range p.prices {
		bound -= price * float64(p.limits[d])
	}
	if slices.Min(append(left, 0)) >= 0 && cost < p.best {
		p.best, p.plan = cost, plan
	}
	return bound
}

func subtract(a, b []int64) {
	for d := range b {
		a[d] -= b[d]
	}
}

// improve makes a plan of the cheapest options: where they take too much, it changes the images where that costs least
// for what it frees; then it changes those where what is left saves most.
func (p *problem) improve() {
	chosen := make([]option, len(p.items))
	left := slices.Clone(p.limits)
	for i := range p.items {
		chosen[i] = p.cheapest(i)
		subtract(left, chosen[i].takes)
	}
	for excess(left) > 0 {
		if !p.change(chosen, left, p.relief) {
			return
		}
	}
	for p.change(chosen, left, saving) || p.changeTwo(chosen, left) {
	}
	cost, plan := int64(0), make([]int, len(p.items))
	for i, o := range chosen {
		cost += o.cost
		plan[i] = o.index
	}
	if cost < p.best {
		p.best, p.plan = cost, plan
	}
}

// change makes the one change of an option that has the highest worth, and says whether any has one.
func (p *problem) change(chosen []option, left []int64, worth func(from, to option, left []int64) float64) bool {
	most, image, option := 0.0, -1, option{}
	for i, it := range p.items {
		for _, o := range it.options {
			if w := worth(chosen[i], o, left); w > most {
				most, image, option = w, i, o
			}
		}
	}
	if image < 0 {
		return false
	}
	moved(left, chosen[image], option)
	chosen[image] = option
	return true
}

// pairs is how many changes are tried two by two.
const pairs = 1000

// changeTwo makes the two changes together that save most, and says whether any two save something.
// It looks at those that are closest to the cheapest options.
func (p *problem) changeTwo(chosen []option, left []int64) bool {
	type change struct {
		image int
		to    option
		loss  float64
	}
	var changes []change
	for i, it := range p.items {
		for _, o := range it.options {
			if o.index != chosen[i].index {
				changes = append(changes, change{i, o, math.Abs(p.priced(o) - p.priced(chosen[i]))})
			}
		}
	}
	slices.SortStableFunc(changes, func(a, b change) int { return cmp.Compare(a.loss, b.loss) })
	changes = changes[:min(len(changes), pairs)]
	var first, second change
	most := int64(0)
	for n, a := range changes {
		for _, b := range changes[:n] {
			saved := chosen[a.image].cost - a.to.cost + chosen[b.image].cost - b.to.cost
			if saved <= most || a.image == b.image {
				continue
			}
			fits := true
			for d, l := range left {
				l += chosen[a.image].takes[d] - a.to.takes[d] + chosen[b.image].takes[d] - b.to.takes[d]
				fits = fits && l >= 0
			}
			if fits {
				most, first, second = saved, a, b
			}
		}
	}
	if most == 0 {
		return false
	}
	for _, c := range []change{first, second} {
		moved(left, chosen[c.image], c.to)
		chosen[c.image] = c.to
	}
	return true
}

// moved is what is left after a change.
func moved(left []int64, from, to option) {
	for d := range left {
		left[d] += from.takes[d] - to.takes[d]
	}
}

// excess is how much is taken beyond the limits.
func excess(left []int64) float64 {
	over := 0.0
	for _, l := range left {
		over += max(0, -float64(l))
	}
	return over
}

// relief is how much less excess there is for what it costs.
func (p *problem) relief(from, to option, left []int64) float64 {
	after := slices.Clone(left)
	moved(after, from, to)
	return (excess(left) - excess(after)) / max(1, p.priced(to)-p.priced(from))
}

// saving is how much less an option costs, if it fits.
func saving(from, to option, left []int64) float64 {
	for d, l := range left {
		if to.takes[d]-from.takes[d] > l {
			return 0
		}
	}
	return float64(from.cost - to.cost)
}

// state is a partial plan: what is chosen for the first images of the search.
type state struct {
	cost   int64
	loss   float64
	left   []int64 // of each budget
	from   *state
	option option
}

func (p *problem) search() ([]int, bool) {
	order := p.order()
	need := p.needs(order)
	states := []*state{{left: slices.Clone(p.limits)}}
	for at, i := range order {
		var next []*state
		for _, s := range states {
			for _, o := range p.items[i].options {
				t := &state{cost: s.cost + o.cost, loss: s.loss + o.loss, left: slices.Clone(s.left), from: s, option: o}
				subtract(t.left, o.takes)
				if p.hopeless(t.loss) || !noMore(need.least[at+1], t.left) {
					continue
				}
				next = append(next, t)
				if noMore(need.cheapest[at+1], t.left) && t.cost+need.cost[at+1] < p.best {
					p.keep(t, order, at)
				}
			}
		}
		states = p.thin(next)
	}
	return p.plan, p.plan != nil
}

// hopeless tells whether no plan with this much loss can be better than the best known, by one at least.
// The margin is more than what rounding can be off.
func (p *problem) hopeless(loss float64) bool {
	if p.plan == nil {
		return false
	}
	return p.bound+loss > float64(p.best-1)*(1+1e-13)
}

// order returns the images by how close their second best option is, so that those with a real choice come first.
func (p *problem) order() []int {
	second := make([]float64, len(p.items))
	order := make([]int, len(p.items))
	for i, it := range p.items {
		losses := make([]float64, len(it.options))
		for j, o := range it.options {
			losses[j] = o.loss
		}
		slices.Sort(losses)
		second[i], order[i] = math.Inf(1), i
		if len(losses) > 1 {
			second[i] = losses[1]
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(second[a], second[b]) })
	return order
}

// needs is what the images from a place of the order on take: at least, and with their cheapest options.
type needs struct {
	least, cheapest [][]int64
	cost            []int64
}

func (p *problem) needs(order []int) needs {
	n := needs{make([][]int64, len(order)+1), make([][]int64, len(order)+1), make([]int64, len(order)+1)}
	n.least[len(order)], n.cheapest[len(order)] = make([]int64, len(p.limits)), make([]int64, len(p.limits))
	for at := len(order) - 1; at >= 0; at-- {
		it, o := p.items[order[at]], p.cheapest(order[at])
		n.cost[at] = n.cost[at+1] + o.cost
		n.least[at], n.cheapest[at] = slices.Clone(n.least[at+1]), slices.Clone(n.cheapest[at+1])
		for d := range p.limits {
			n.least[at][d] += it.least[d]
			n.cheapest[at][d] += o.takes[d]
		}
	}
	return n
}

// keep makes a partial plan, completed with the cheapest options, the best one known.
func (p *problem) keep(s *state, order []int, at int) {
	p.best = s.cost
	p.plan = make([]int, len(p.items))
	for _, i := range order[at+1:] {
		o := p.cheapest(i)
		p.best += o.cost
		p.plan[i] = o.index
	}
	for ; s.from != nil; s, at = s.from, at-1 {
		p.plan[order[at]] = s.option.index
	}
}

// thin drops states that became hopeless and those that cost and take at least as much as another one.
func (p *problem) thin(states []*state) []*state {
	slices.SortStableFunc(states, func(a, b *state) int {
		if byCost := cmp.Compare(a.cost, b.cost); byCost != 0 {
			return byCost
		}
		return slices.Compare(b.left, a.left)
	})
	var kept []*state
	most := int64(-1) // of the first budget that a kept state has left
	for _, s := range states {
		if p.hopeless(s.loss) || len(s.left) == 0 && len(kept) > 0 {
			continue
		}
		if len(s.left) > 0 && s.left[0] <= most {
			if len(s.left) == 1 || slices.ContainsFunc(kept, func(k *state) bool { return noMore(s.left, k.left) }) {
				continue
			}
		}
		if len(s.left) > 0 {
			most = max(most, s.left[0])
		}
		kept = append(kept, s)
	}
	return kept
}
