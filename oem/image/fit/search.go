package fit

import (
	"cmp"
	"math"
	"slices"
)

// search finds the best plan that costs no more than a ceiling, or nil.
//
// It decides one image after the other and keeps a list of all partial plans that can still become a better plan than
// the best one found, without those that another one makes superfluous.
func (p *problem) search(prices []float64, bound float64, lowest, ceiling int64) []int {
	s := newSearch(p, prices, bound, ceiling)
	plans := partial{width: len(s.limits), sums: make([]int64, len(s.limits)), losses: make([]float64, 1)}
	for at := range s.images {
		var next, merged partial
		for choice := range s.images[at].options {
			merged.reset(plans.width)
			s.merge(&merged, next, plans, at, choice)
			next, merged = merged, next
			if s.limits[0] < lowest {
				return s.best
			}
		}
		s.trail = append(s.trail, next.trail)
		plans = next
	}
	return s.best
}

type search struct {
	limits []int64 // what a better plan than the best may cost, and the budgets
	prices []float64
	bound  float64
	images []decision // those with the closest options first
	trail  [][]step   // of the partial plans after each image
	best   []int
}

// decision is one image and what comes after it.
type decision struct {
	image      int
	options    []option
	secondLoss float64
	rest       rest
}

// rest is what the images after one take.
type rest struct {
	least, cheapest, most []int64
	secondLoss            float64 // the least one for any but the cheapest option of an image
}

// step leads to a partial plan: which one it was before, and the option that was added.
type step struct{ from, option int32 }

// partial is a list of partial plans, in the order of their sums.
type partial struct {
	width  int
	sums   []int64 // of the amounts, width numbers for each plan
	losses []float64
	trail  []step
}

func (l *partial) reset(width int) {
	*l = partial{width, l.sums[:0], l.losses[:0], l.trail[:0]}
}

func (l *partial) at(i int) []int64 { return l.sums[i*l.width : (i+1)*l.width] }

func newSearch(p *problem, prices []float64, bound float64, ceiling int64) *search {
	s := &search{limits: slices.Clone(p.limits), prices: prices, bound: bound}
	s.limits[0] = ceiling
	for i, options := range p.images {
		d := decision{image: i, secondLoss: math.Inf(1)}
		for _, o := range options {
			if bound+o.loss <= float64(ceiling) {
				d.options = append(d.options, o)
			}
		}
		slices.SortStableFunc(d.options, func(a, b option) int { return cmp.Compare(a.loss, b.loss) })
		if len(d.options) > 1 {
			d.secondLoss = d.options[1].loss
		}
		s.images = append(s.images, d)
	}
	slices.SortStableFunc(s.images, func(a, b decision) int { return cmp.Compare(a.secondLoss, b.secondLoss) })
	width := len(s.limits)
	after := rest{make([]int64, width), make([]int64, width), make([]int64, width), math.Inf(1)}
	for at := len(s.images) - 1; at >= 0; at-- {
		d := &s.images[at]
		d.rest = after
		after = rest{slices.Clone(after.least), slices.Clone(after.cheapest), slices.Clone(after.most), d.secondLoss}
		for a := range width {
			after.least[a] += extreme(d.options, a, slices.Min)
			after.cheapest[a] += d.options[0].amounts[a]
			after.most[a] += extreme(d.options, a, slices.Max)
		}
	}
	return s
}

// compared is how many partial plans each is compared with where there are several budgets. It is exact not to find
// all superfluous ones, and looking for them would take the square of the time.
const compared = 8

// merge writes to out the plans so far for this image, and those that one more of its options leads to.
func (s *search) merge(out *partial, so partial, before partial, at, choice int) {
	decision := &s.images[at]
	o := decision.options[choice]
	sums := make([]int64, before.width)
	done := 0
	for i, loss := range before.losses {
		for d, sum := range before.at(i) {
			sums[d] = sum + o.amounts[d]
		}
		loss += o.loss
		if !s.promising(sums, loss, decision.rest) {
			continue
		}
		s.complete(sums, i, at, choice)
		if s.bound+loss+decision.rest.secondLoss > float64(s.limits[0]) {
			continue // nothing but the cheapest options could follow
		}
		for ; done < len(so.losses) && slices.Compare(so.at(done), sums) <= 0; done++ {
			out.add(so.at(done), so.losses[done], so.trail[done])
		}
		out.add(sums, loss, step{int32(i), int32(choice)})
	}
	for ; done < len(so.losses); done++ {
		out.add(so.at(done), so.losses[done], so.trail[done])
	}
}

// add appends a plan unless one of the last ones has no amount that is more.
func (l *partial) add(sums []int64, loss float64, trail step) {
	last := compared
	if l.width <= 2 {
		last = 1 // it has the least of the only budget
	}
	for i := len(l.losses) - 1; i >= max(0, len(l.losses)-last); i-- {
		if noMore(l.at(i), sums) {
			return
		}
	}
	l.sums = append(l.sums, sums...)
	l.losses = append(l.losses, loss)
	l.trail = append(l.trail, trail)
}

// promising tells whether a partial plan can become a better one than the best. What it leaves of a budget even if the
// other images take most of it costs its price.
func (s *search) promising(sums []int64, loss float64, rest rest) bool {
	for d, limit := range s.limits {
		left := limit - sums[d]
		if left < rest.least[d] {
			return false
		}
		if d > 0 && left > rest.most[d] {
			loss += s.prices[d] * float64(left-rest.most[d])
		}
	}
	return s.bound+loss <= float64(s.limits[0])
}

// complete adds the cheapest options of all other images, and keeps the plan if it is better than the best.
func (s *search) complete(sums []int64, from, at, choice int) {
	cheapest := s.images[at].rest.cheapest
	for d, limit := range s.limits {
		if sums[d]+cheapest[d] > limit {
			return
		}
	}
	s.limits[0] = sums[0] + cheapest[0] - 1
	s.best = make([]int, len(s.images))
	for _, d := range s.images {
		s.best[d.image] = d.options[0].index
	}
	for ; at >= 0; at-- {
		d := s.images[at]
		s.best[d.image] = d.options[choice].index
		if at > 0 {
			last := s.trail[at-1][from]
			from, choice = int(last.from), int(last.option)
		}
	}
}
