package fit

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// brute tries every plan. Of the best ones it returns read time and size.
func brute(limits []size.Bytes, images [][]Choice) (read int64, bytes size.Bytes, fits bool) {
	if len(images) == 0 {
		return 0, 0, true
	}
	for _, c := range images[0] {
		left := slices.Clone(limits)
		ok := true
		for b := range left {
			left[b] -= c.Takes[b]
			ok = ok && left[b] >= 0
		}
		if !ok {
			continue
		}
		r, s, rest := brute(left, images[1:])
		if !rest {
			continue
		}
		r, s = r+c.Read, s+c.Size
		if !fits || r < read || r == read && s < bytes {
			read, bytes, fits = r, s, true
		}
	}
	return read, bytes, fits
}

func sum(images [][]Choice, plan []int) (read int64, bytes size.Bytes, takes []size.Bytes) {
	for i, choice := range plan {
		c := images[i][choice]
		read, bytes = read+c.Read, bytes+c.Size
		if takes == nil {
			takes = make([]size.Bytes, len(c.Takes))
		}
		for b, t := range c.Takes {
			takes[b] += t
		}
	}
	return read, bytes, takes
}

// kinds of instances: the harder ones have times that follow from the sizes.
var kinds = map[string]func(rng *rand.Rand, budgets int, scale int64) Choice{
	"unrelated": func(rng *rand.Rand, budgets int, scale int64) Choice {
		c := Choice{Read: rng.Int64N(scale), Size: size.Bytes(rng.Int64N(scale))}
		for range budgets {
			c.Takes = append(c.Takes, size.Bytes(rng.Int64N(scale)))
		}
		return c
	},
	"smaller is slower": func(rng *rand.Rand, budgets int, scale int64) Choice {
		s := rng.Int64N(scale)
		c := Choice{Read: scale - s + rng.Int64N(scale/10+1), Size: size.Bytes(s)}
		for range budgets {
			c.Takes = append(c.Takes, size.Bytes(s+rng.Int64N(scale/10+1)))
		}
		return c
	},
	"exactly as slow as small": func(rng *rand.Rand, budgets int, scale int64) Choice {
		s := rng.Int64N(scale)
		c := Choice{Read: (scale - s) / 8, Size: size.Bytes(s)}
		for range budgets {
			c.Takes = append(c.Takes, size.Bytes(s))
		}
		return c
	},
}

func instance(rng *rand.Rand, kind string, images, rungs, budgets int, scale int64) ([]size.Bytes, [][]Choice) {
	choices := make([][]Choice, images)
	limits := make([]size.Bytes, budgets)
	for i := range choices {
		most := make([]size.Bytes, budgets)
		least := make([]size.Bytes, budgets)
		for range rungs {
			c := kinds[kind](rng, budgets, scale)
			for b := range c.Takes {
				if len(choices[i]) == 0 {
					least[b] = c.Takes[b]
				}
				most[b], least[b] = max(most[b], c.Takes[b]), min(least[b], c.Takes[b])
			}
			choices[i] = append(choices[i], c)
		}
		for b := range limits { // between what is never enough and what always is
			limits[b] += least[b] + size.Bytes(rng.Float64()*0.8*float64(most[b]-least[b]))
		}
	}
	return limits, choices
}

func TestSolveEqualsTryingEverything(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	solved, impossible := 0, 0
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		for n := range 2500 {
			// Small numbers make many plans equal.
			limits, images := instance(rng, kind, rng.IntN(7), 1+rng.IntN(5), rng.IntN(4), []int64{4, 40, 5000, 1 << 30, 1 << 50}[n%5])
			if n%7 == 0 { // two budgets that are the same
				limits = append(limits, limits[:min(1, len(limits))]...)
				for _, choices := range images {
					for i, c := range choices {
						choices[i].Takes = append(c.Takes, c.Takes[:min(1, len(c.Takes))]...)
					}
				}
			}
			if n%10 == 0 {
				for b := range limits {
					limits[b] = limits[b] * 2 / 3
				}
			}
			wantRead, wantSize, fits := brute(limits, images)
			plan, ok := Solve(limits, images)
			if ok != fits {
				t.Fatalf("%s: fits %v; want %v\n%v\n%v", kind, ok, fits, limits, images)
			}
			if !fits {
				impossible++
				continue
			}
			solved++
			read, bytes, takes := sum(images, plan)
			for b := range takes {
				if takes[b] > limits[b] {
					t.Fatalf("%s: takes %v of %v", kind, takes, limits)
				}
			}
			if read != wantRead || bytes != wantSize {
				t.Fatalf("%s: plan %v costs %d, %d; best is %d, %d\n%v\n%v", kind, plan, read, bytes, wantRead, wantSize, limits, images)
			}
			if again, _ := Solve(limits, images); !slices.Equal(plan, again) {
				t.Fatalf("two answers: %v and %v", plan, again)
			}
		}
	}
	if solved < 1000 || impossible < 100 {
		t.Errorf("%d were solved and %d impossible: too few of one kind", solved, impossible)
	}
}

// blocks turns the sizes of an instance into those of files: whole blocks, about 1 GiB in all.
func blocks(limits []size.Bytes, images [][]Choice) ([]size.Bytes, [][]Choice) {
	const block = 4 * size.KiB
	for b := range limits {
		limits[b] *= block
	}
	for _, choices := range images {
		for i := range choices {
			choices[i].Read *= 997 // microseconds
			choices[i].Size *= block
			for b := range choices[i].Takes {
				choices[i].Takes[b] *= block
			}
		}
	}
	return limits, images
}

// rungs is an instance like real ones: images of 16 KiB to 60 MiB, packed the harder the slower they read.
// All budgets are taken nearly the same of, and all limits bind.
func rungs(rng *rand.Rand, images, rungs, budgets int) ([]size.Bytes, [][]Choice) {
	const block = 4 * size.KiB
	ratios := []float64{1.0, 0.52, 0.43, 0.35, 0.30, 0.285, 0.27, 0.255, 0.25, 0.245}
	speeds := []float64{323, 547, 510, 330, 274, 171, 112, 42, 38, 34} // of the unpacked bytes, in MB/s
	choices := make([][]Choice, images)
	limits := make([]size.Bytes, budgets)
	for i := range choices {
		unpacked := 16 * 1024 * math.Exp(rng.Float64()*math.Log(60*1024/16))
		most, least := size.Bytes(0), size.Bytes(math.MaxInt64)
		for r := range rungs {
			kind := r * len(ratios) / rungs
			s := size.Bytes(unpacked*ratios[kind]*(0.85+0.3*rng.Float64())/float64(block)+1) * block
			c := Choice{Read: int64(unpacked / (speeds[kind] * (0.85 + 0.3*rng.Float64()))), Size: s}
			for range budgets {
				c.Takes = append(c.Takes, s+size.Bytes(rng.Int64N(int64(s/50/block)+1))*block)
			}
			most, least = max(most, s), min(least, s)
			choices[i] = append(choices[i], c)
		}
		for b := range limits {
			limits[b] += least + (most-least)*3/10
		}
	}
	return limits, choices
}

func BenchmarkSolve(b *testing.B) {
	measure := func(name string, budgets int, instance func(*rand.Rand) ([]size.Bytes, [][]Choice)) {
		b.Run(fmt.Sprintf("%s/%d budgets", name, budgets), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(3, 4))
			var longest time.Duration
			for b.Loop() {
				limits, images := instance(rng)
				start := time.Now()
				Solve(limits, images)
				longest = max(longest, time.Since(start))
			}
			b.ReportMetric(longest.Seconds(), "longest-s")
		})
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		measure(kind, 1, func(rng *rand.Rand) ([]size.Bytes, [][]Choice) {
			return blocks(instance(rng, kind, 500, 20, 1, 1000))
		})
	}
	measure("real rungs", 1, func(rng *rand.Rand) ([]size.Bytes, [][]Choice) { return rungs(rng, 500, 20, 1) })
	// Several budgets that images take different amounts of are harder; plans have one that is tightest for all images.
	measure("real rungs, 100 images", 2, func(rng *rand.Rand) ([]size.Bytes, [][]Choice) { return rungs(rng, 100, 10, 2) })
}
