package fit

import (
	"cmp"
	"slices"
	"sort"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Choice is one way to pack and place an image.
type Choice struct {
	Read  int64      // read time at boot in microseconds, summed over the platforms that activate the image
	Size  size.Bytes // of the packed image; the tie-breaker between equally fast plans
	Takes size.Bytes // space in the budget
}

// Solve picks one choice for each image so that together they take no more than the limit, with the least sum of Read,
// and among those the least sum of Size. It returns the indexes of the choices, or false if nothing fits.
// It is deterministic.
//
// This is a multiple-choice knapsack problem. Images are decided one by one, keeping the partial plans that may still become
// the best: those not dominated by another, with a bound no worse than the best known plan. The bound is the linear
// relaxation for the remaining images: the price of a byte (a Lagrange multiplier) that just uses up the limit.
// All values must be from 0 to 2^50, for at most 4096 images.
func Solve(limit size.Bytes, images [][]Choice) ([]int, bool) {
	s := newSearch(limit, images)
	bound, known, fits := s.bounds(Choice{}, s.rests[0])
	if !fits {
		return nil, false
	}
	// A better known plan prunes more. So assume one just above the bound, and double the gap until a plan is found.
	for above := int64(1); ; above *= 2 {
		if plan := s.upTo(min(known, int64(bound)+above)); plan != nil {
			return s.choices(plan), true
		}
	}
}

// search is the state while images are decided.
type search struct {
	limit   size.Bytes
	images  [][]Choice
	order   []int   // in which the images are decided
	rests   []curve // of all images from each one in the order on
	margin  float64 // more than the accumulated rounding error of a bound
	ceiling int64   // Read of the best plan known so far
}

// partial is a choice for each image that is decided.
type partial struct {
	Choice // their sums
	index  int
	before *partial
}

func newSearch(limit size.Bytes, images [][]Choice) *search {
	s := &search{limit: limit, images: images, rests: make([]curve, len(images)+1)}
	curves := make([]curve, len(images))
	for i, choices := range images {
		curves[i] = newCurve(choices)
		s.order = append(s.order, i)
		s.margin += float64(curves[i][0].read) * 0x1p-40
	}
	// Images with the largest differences come first: for the rest, whole choices come close to the relaxation.
	slices.SortStableFunc(s.order, func(a, b int) int { return cmp.Compare(curves[b].stake(), curves[a].stake()) })
	s.rests[len(images)] = curve{{}}
	for n := len(images) - 1; n >= 0; n-- {
		s.rests[n] = curves[s.order[n]].add(s.rests[n+1])
	}
	return s
}

// upTo returns the best plan with Read up to the ceiling, or nil.
func (s *search) upTo(ceiling int64) *partial {
	s.ceiling = ceiling
	plans := []partial{{}}
	for n := range s.order {
		plans = s.extend(plans, n)
	}
	if len(plans) == 0 {
		return nil
	}
	best := &plans[len(plans)-1] // it takes the most space, and is undominated, so it reads fastest
	if best.Read > s.ceiling {
		return nil // above the ceiling, within the margin: a better plan may have been pruned
	}
	return best
}

// extend adds each choice for the nth image to partial plans, and returns those that may become the best plan.
func (s *search) extend(plans []partial, n int) []partial {
	var next []partial
	for index, c := range s.images[s.order[n]] {
		for i := range plans {
			p := &plans[i]
			sum := Choice{p.Read + c.Read, p.Size + c.Size, p.Takes + c.Takes}
			if s.promises(sum, s.rests[n+1]) {
				next = append(next, partial{sum, index, p})
			}
		}
	}
	return undominated(next)
}

// promises tells whether a partial plan may become the best.
func (s *search) promises(sum Choice, rest curve) bool {
	bound, whole, fits := s.bounds(sum, rest)
	if fits {
		s.ceiling = min(s.ceiling, whole)
	}
	return fits && bound <= float64(s.ceiling)
}

// bounds returns a lower bound of Read for completions of a partial plan, and Read of one completion with whole choices.
func (s *search) bounds(sum Choice, rest curve) (bound float64, whole int64, fits bool) {
	left := s.limit - sum.Takes
	n := sort.Search(len(rest), func(i int) bool { return rest[i].takes > left })
	if n == 0 {
		return 0, 0, false
	}
	last := rest[n-1]
	whole = sum.Read + last.read
	return float64(whole) - last.gain*float64(left-last.takes) - s.margin, whole, true
}

// choices returns the choices of a plan, in the order of images.
func (s *search) choices(plan *partial) []int {
	chosen := make([]int, len(s.images))
	for n := len(s.order) - 1; n >= 0; n-- {
		chosen[s.order[n]], plan = plan.index, plan.before
	}
	return chosen
}

// undominated sorts partial plans by the space they take, and drops those no better than an earlier one.
func undominated(plans []partial) []partial {
	slices.SortStableFunc(plans, func(a, b partial) int { return cmp.Or(cmp.Compare(a.Takes, b.Takes), compare(a, b)) })
	var kept []partial
	for _, p := range plans {
		if len(kept) == 0 || compare(p, kept[len(kept)-1]) < 0 {
			kept = append(kept, p)
		}
	}
	return kept
}

// compare puts the better of two plans first.
func compare(a, b partial) int {
	return cmp.Or(cmp.Compare(a.Read, b.Read), cmp.Compare(a.Size, b.Size))
}

// curve is the best read time of images by the space that they take, starting at the least space. Each step gains less
// per byte than the one before, so taking steps in order is optimal.
type curve []point

type point struct {
	takes size.Bytes
	read  int64
	gain  float64 // microseconds per byte of the step to the next point
}

// newCurve is the lower convex hull of one image's choices.
func newCurve(choices []Choice) curve {
	sorted := slices.SortedFunc(slices.Values(choices), func(a, b Choice) int {
		return cmp.Or(cmp.Compare(a.Takes, b.Takes), cmp.Compare(a.Read, b.Read))
	})
	c := curve{{takes: sorted[0].Takes, read: sorted[0].Read}}
	for _, next := range sorted[1:] {
		if next.Read >= c[len(c)-1].read {
			continue
		}
		for len(c) > 1 && c[len(c)-1].gainTo(next) >= c[len(c)-2].gain {
			c = c[:len(c)-1]
		}
		c[len(c)-1].gain = c[len(c)-1].gainTo(next)
		c = append(c, point{takes: next.Takes, read: next.Read})
	}
	return c
}

func (p point) gainTo(c Choice) float64 { return float64(p.read-c.Read) / float64(c.Takes-p.takes) }

func (c curve) stake() int64 { return c[0].read - c[len(c)-1].read }

// add returns the curve of two groups of images: the steps of both, by gain.
func (c curve) add(d curve) curve {
	var sum curve
	for {
		sum = append(sum, point{c[0].takes + d[0].takes, c[0].read + d[0].read, max(c[0].gain, d[0].gain)})
		switch {
		case len(c) == 1 && len(d) == 1:
			return sum
		case c[0].gain >= d[0].gain:
			c = c[1:]
		default:
			d = d[1:]
		}
	}
}
