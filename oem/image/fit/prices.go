package fit

import (
	"math"
	"slices"
)

// at returns the least that a plan can cost when exceeding a limit costs its price and keeping below it earns that,
// which is a bound for all plans that keep to the limits, and how much the cheapest options then exceed each limit.
// The price of the cost itself is 1.
func (p *problem) at(prices []float64) (bound float64, excess []float64) {
	excess = make([]float64, len(prices))
	for d := 1; d < len(prices); d++ {
		excess[d] = -float64(p.limits[d])
		bound -= prices[d] * float64(p.limits[d])
	}
	for _, options := range p.images {
		o, least := cheapest(options, prices)
		bound += least
		for d := 1; d < len(prices); d++ {
			excess[d] += float64(o.amounts[d])
		}
	}
	return bound, excess
}

// cheapest returns the option that costs least at the prices, and that cost.
func cheapest(options []option, prices []float64) (best option, least float64) {
	least = math.Inf(1)
	for _, o := range options {
		if cost := dot(prices, o.amounts); cost < least {
			best, least = o, cost
		}
	}
	return best, least
}

func dot(prices []float64, amounts []int64) float64 {
	sum := 0.0
	for d, price := range prices {
		sum += price * float64(amounts[d])
	}
	return sum
}

// margin is more than what rounding can add up to in a bound or in the losses of a plan.
func (p *problem) margin(prices []float64) float64 {
	most := 0.0
	for _, options := range p.images {
		dearest := 0.0
		for _, o := range options {
			dearest = max(dearest, dot(prices, o.amounts))
		}
		most += dearest
	}
	for d := 1; d < len(prices); d++ {
		most += prices[d] * float64(p.limits[d])
	}
	return most * float64(len(p.images)+2*len(prices)) * 0x1p-51
}

func (p *problem) setLosses(prices []float64) {
	for _, options := range p.images {
		_, least := cheapest(options, prices)
		for i := range options {
			options[i].loss = dot(prices, options[i].amounts) - least
		}
	}
}

// prices looks for those that make the bound high.
func (p *problem) prices() []float64 {
	prices := slices.Repeat([]float64{1}, len(p.limits))
	switch len(p.limits) {
	case 1:
		return prices
	case 2:
		return p.bisect(prices)
	}
	return p.shrinkEllipsoid(prices)
}

// bisect finds the price of the only budget from which on the cheapest options keep to it.
func (p *problem) bisect(prices []float64) []float64 {
	exceeded := func(price float64) bool {
		prices[1] = price
		_, excess := p.at(prices)
		return excess[1] > 0
	}
	low, high := 0.0, 1.0
	for high < 1e30 && exceeded(high) {
		low, high = high, high*4
	}
	for range 100 {
		middle := low + (high-low)/2
		if exceeded(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	prices[1] = high
	return prices
}

// Of the ellipsoid method: how far from the usual prices the best ones may be, and when it ends.
const (
	priceRange  = 1e6
	priceRounds = 3000
	closeEnough = 0.01 // to the highest bound, in units of the cost
)

// shrinkEllipsoid finds the prices with the ellipsoid method: the best ones are known to be in an ellipsoid.
// The excess at its centre tells in which half they are, and the smallest ellipsoid around that half is the next one.
// Unlike adjusting one price after the other, it does not get stuck where only a change of several raises the bound.
func (p *problem) shrinkEllipsoid(prices []float64) []float64 {
	n := len(prices) - 1
	units := p.usualPrices()
	centre := slices.Repeat([]float64{1}, n) // in units
	axes := make([][]float64, n)             // inside is centre + axes·x for all x with |x| ≤ 1
	for d := range axes {
		axes[d] = make([]float64, n)
		axes[d][d] = priceRange
	}
	best, highest := slices.Clone(prices), math.Inf(-1)
	for range priceRounds {
		// away is where the bound falls, by at least depth from the centre to what is of interest.
		away, depth := make([]float64, n), 0.0
		if d := slices.Index(centre, slices.Min(centre)); centre[d] < 0 {
			away[d], depth = -1, -centre[d]
		} else {
			for d, c := range centre {
				prices[d+1] = c * units[d+1]
			}
			bound, excess := p.at(prices)
			if bound > highest {
				highest = bound
				copy(best, prices)
			}
			for d := range away {
				away[d] = -excess[d+1] * units[d+1]
			}
			depth = highest - bound
		}
		if !cut(centre, axes, away, depth) {
			break
		}
	}
	return best
}

// usualPrices are those at which the whole range of a budget costs as much as the whole range of costs.
func (p *problem) usualPrices() []float64 {
	units := make([]float64, len(p.limits))
	for _, options := range p.images {
		for d := range units {
			units[d] += float64(extreme(options, d, slices.Max))
		}
	}
	for d := len(units) - 1; d >= 0; d-- {
		units[d] = max(1, units[0]) / max(1, units[d])
	}
	return units
}

// cut makes the ellipsoid the smallest one around the part of it where away·(x-centre) ≤ -depth.
// It returns false when that part is not worth it.
func cut(centre []float64, axes [][]float64, away []float64, depth float64) bool {
	n := float64(len(centre))
	direction := make([]float64, len(centre)) // away, where the ellipsoid is a ball
	width := 0.0
	for j := range direction {
		for i, a := range away {
			direction[j] += a * axes[i][j]
		}
		width = math.Hypot(width, direction[j])
	}
	if width-depth <= closeEnough {
		return false
	}
	depth /= width
	grow := math.Sqrt(n * n * (1 - depth*depth) / (n*n - 1))
	shrink := 1 - math.Sqrt(1-2*(1+n*depth)/((n+1)*(1+depth)))
	for i, row := range axes {
		step := 0.0
		for j, d := range direction {
			step += row[j] * d / width
		}
		centre[i] -= step * (1 + n*depth) / (n + 1)
		for j, d := range direction {
			row[j] = grow * (row[j] - shrink*step*d/width)
		}
	}
	return true
}
