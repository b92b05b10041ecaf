package fit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/size"
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
	for kind := range kinds {
		for n := range 1500 {
			// Small numbers make many plans equal.
			limits, images := instance(rng, kind, rng.IntN(7), 1+rng.IntN(5), rng.IntN(4), []int64{4, 40, 1 << 40}[n%3])
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

func BenchmarkSolve(b *testing.B) {
	for kind := range kinds {
		for _, budgets := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("%s/%d budgets", kind, budgets), func(b *testing.B) {
				rng := rand.New(rand.NewPCG(3, 4))
				var longest time.Duration
				for b.Loop() {
					limits, images := blocks(instance(rng, kind, 500, 20, budgets, 1000))
					start := time.Now()
					Solve(limits, images)
					longest = max(longest, time.Since(start))
				}
				b.ReportMetric(longest.Seconds(), "longest-s")
			})
		}
	}
}
