package fit

import (
	"math"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/size"
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
// This is a multiple-choice knapsack problem, solved twice: for the least time, then for the least size in that time.
// Prices for the budgets (Lagrange multipliers) give a bound that no plan is below; then all plans up to a little above
// the bound are searched, and up to twice as much above it until there is one. It is exact whatever the prices are,
// and fast because with good ones few choices can be part of a plan that close to the bound.
// All values must be from 0 to 2^50, for at most 4096 images.
func Solve(limits []size.Bytes, images [][]Choice) ([]int, bool) {
	if len(images) == 0 {
		return nil, true
	}
	reads := amounts(images, func(c Choice) []int64 { return []int64{c.Read} })
	room := append([]int64{math.MaxInt64}, wholeNumbers(limits)...)
	fastest, prices, ok := solve(room, reads)
	if !ok {
		return nil, false
	}
	bytes := int64(0)
	room[0] = 0
	for i, choice := range fastest {
		bytes += int64(images[i][choice].Size)
		room[0] += images[i][choice].Read
	}
	priced, most := surrogate(prices, room, reads)
	sizes := make([][][]int64, len(images))
	for i, choices := range images {
		for j, c := range choices {
			sizes[i] = append(sizes[i], append([]int64{int64(c.Size), priced[i][j]}, reads[i][j]...))
		}
	}
	plan, _, ok := solve(append([]int64{bytes, most}, room...), sizes)
	return plan, ok
}

// amounts lists what each choice costs, and what it takes of each budget.
func amounts(images [][]Choice, cost func(Choice) []int64) [][][]int64 {
	all := make([][][]int64, len(images))
	for i, choices := range images {
		for _, c := range choices {
			all[i] = append(all[i], append(cost(c), wholeNumbers(c.Takes)...))
		}
	}
	return all
}

func wholeNumbers(sizes []size.Bytes) []int64 {
	var numbers []int64
	for _, s := range sizes {
		numbers = append(numbers, int64(s))
	}
	return numbers
}

// solve returns the options with the least sum of first amounts of which no sum exceeds its limit,
// and prices of the amounts that lead to them.
func solve(limits []int64, images [][][]int64) (plan []int, prices []float64, ok bool) {
	p := problem{limits: slices.Clone(limits)}
	for _, amounts := range images {
		var options []option
		for index, a := range amounts {
			options = append(options, option{index: index, amounts: slices.Clone(a)})
		}
		p.images = append(p.images, options)
	}
	if !p.reduce() {
		return nil, nil, false
	}
	reduced := p.prices()
	prices = make([]float64, len(limits))
	for d, column := range p.columns {
		prices[column] = reduced[d] * float64(p.units[0]) / float64(p.units[d])
	}
	plan, ok = p.solve(reduced)
	return plan, prices, ok
}

// surrogate is one more budget, which all plans keep to that keep to the others: the priced sum of them. The second
// search would be exact without it, but would not know what the first one found out: which choices are in no plan
// that is as fast.
func surrogate(prices []float64, limits []int64, images [][][]int64) (priced [][]int64, most int64) {
	sum := dot(prices, limits)
	for _, amounts := range images {
		dearest := 0.0
		for _, a := range amounts {
			dearest = max(dearest, dot(prices, a))
		}
		sum += dearest
	}
	scale := 0x1p50 / max(sum, 0x1p-50)
	priced = make([][]int64, len(images))
	for i, amounts := range images {
		for _, a := range amounts {
			priced[i] = append(priced[i], int64(dot(prices, a)*scale))
		}
	}
	// Rounding each down to whole numbers cannot rule out a plan, and one for each makes up for what floats are off.
	return priced, int64(dot(prices, limits)*scale) + int64(len(images)) + 1
}
