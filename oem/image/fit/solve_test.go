package fit

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// brute tries every plan. Of the best ones it returns read time and size.
func brute(left size.Bytes, images [][]Choice) (read int64, bytes size.Bytes, fits bool) {
	if len(images) == 0 {
		return 0, 0, true
	}
	for _, c := range images[0] {
		if c.Takes > left {
			continue
		}
		r, s, rest := brute(left-c.Takes, images[1:])
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

func sum(images [][]Choice, plan []int) (read int64, bytes, takes size.Bytes) {
	for i, choice := range plan {
		c := images[i][choice]
		read, bytes, takes = read+c.Read, bytes+c.Size, takes+c.Takes
	}
	return read, bytes, takes
}

// kinds of instances: the harder ones have times that follow from the sizes.
var kinds = map[string]func(rng *rand.Rand, scale int64) Choice{
	"unrelated": func(rng *rand.Rand, scale int64) Choice {
		return Choice{rng.Int64N(scale), size.Bytes(rng.Int64N(scale)), size.Bytes(rng.Int64N(scale))}
	},
	"smaller is slower": func(rng *rand.Rand, scale int64) Choice {
		s := rng.Int64N(scale)
		return Choice{scale - s + rng.Int64N(scale/10+1), size.Bytes(s), size.Bytes(s + rng.Int64N(scale/10+1))}
	},
	"exactly as slow as small": func(rng *rand.Rand, scale int64) Choice {
		s := rng.Int64N(scale)
		return Choice{(scale - s) / 8, size.Bytes(s), size.Bytes(s)}
	},
	"some elsewhere": func(rng *rand.Rand, scale int64) Choice {
		s := rng.Int64N(scale)
		if rng.IntN(3) == 0 {
			return Choice{scale*8 + scale - s, size.Bytes(s), 0}
		}
		return Choice{scale - s, size.Bytes(s), size.Bytes(s)}
	},
}

func instance(rng *rand.Rand, kind string, images, rungs int, scale int64) (size.Bytes, [][]Choice) {
	choices := make([][]Choice, images)
	var limit size.Bytes
	for i := range choices {
		for range rungs {
			choices[i] = append(choices[i], kinds[kind](rng, scale))
		}
		limit += between(rng.Float64()*0.8, choices[i])
	}
	return limit, choices
}

// between is a share of the way from the least that an image can take to the most.
func between(share float64, choices []Choice) size.Bytes {
	least, most := size.Bytes(math.MaxInt64), size.Bytes(0)
	for _, c := range choices {
		least, most = min(least, c.Takes), max(most, c.Takes)
	}
	return least + size.Bytes(share*float64(most-least))
}

func TestSolveEqualsTryingEverything(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	solved, impossible := 0, 0
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		for n := range 2500 {
			// Small numbers make many plans equal.
			scale := []int64{4, 40, 5000, 1 << 30, 1 << 46}[n%5]
			limit, images := instance(rng, kind, rng.IntN(7), 1+rng.IntN(5), scale)
			if n%10 == 0 {
				limit = limit * 2 / 3
			}
			plan, ok := Solve(limit, images)
			wantRead, wantSize, fits := brute(limit, images)
			if ok != fits {
				t.Fatalf("%s: fits %v; want %v\n%v\n%v", kind, ok, fits, limit, images)
			}
			if !fits {
				impossible++
				continue
			}
			solved++
			read, bytes, takes := sum(images, plan)
			if len(plan) != len(images) || takes > limit {
				t.Fatalf("%s: plan %v takes %d of %d", kind, plan, takes, limit)
			}
			if read != wantRead || bytes != wantSize {
				t.Fatalf("%s: plan %v costs %d, %d; best is %d, %d\n%d\n%v", kind, plan, read, bytes, wantRead, wantSize, limit, images)
			}
			if again, _ := Solve(limit, images); !slices.Equal(plan, again) {
				t.Fatalf("two answers: %v and %v", plan, again)
			}
		}
	}
	if solved < 1000 || impossible < 100 {
		t.Errorf("%d were solved and %d impossible: too few of one kind", solved, impossible)
	}
}

// tabulated solves an instance in whole blocks the plain way: the best read time and size for each number of blocks.
func tabulated(limit size.Bytes, images [][]Choice) (read int64, bytes size.Bytes) {
	best := make([]Choice, limit/block+1)
	for _, choices := range images {
		next := slices.Repeat([]Choice{{Read: math.MaxInt64}}, len(best))
		for _, c := range choices {
			for n := c.Takes / block; int(n) < len(best); n++ {
				b := best[n-c.Takes/block]
				if b.Read == math.MaxInt64 {
					continue
				}
				r, s := b.Read+c.Read, b.Size+c.Size
				if r < next[n].Read || r == next[n].Read && s < next[n].Size {
					next[n] = Choice{Read: r, Size: s}
				}
			}
		}
		best = next
	}
	last := best[len(best)-1]
	return last.Read, last.Size
}

// As many images as a release may have, with several placements: the search must not outgrow time and memory either.
func TestSolveManyImages(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for n := range 20 {
		limit, images := rungs(rng, 60, 13)
		for i := range images[:n] { // some may go elsewhere, at a cost above all others
			images[i] = append(images[i], Choice{Read: demotion + int64(i), Size: images[i][0].Size})
			limit -= images[i][0].Takes / 4
		}
		limit = limit / 8 / block * block
		for _, choices := range images {
			for c := range choices {
				choices[c].Takes = (choices[c].Takes/8 + block - 1) / block * block
			}
		}
		plan, ok := Solve(limit, images)
		wantRead, wantSize := tabulated(limit, images)
		if ok != (wantRead < math.MaxInt64) {
			t.Fatalf("fits %v; the least read is %d", ok, wantRead)
		}
		if !ok {
			continue
		}
		if read, bytes, takes := sum(images, plan); read != wantRead || bytes != wantSize || takes > limit {
			t.Fatalf("plan costs %d, %d and takes %d of %d; best is %d, %d", read, bytes, takes, limit, wantRead, wantSize)
		}
	}
}

const block = 4 * size.KiB

// blocks turns the sizes of an instance into those of files: whole blocks, about 1 GiB in all.
func blocks(limit size.Bytes, images [][]Choice) (size.Bytes, [][]Choice) {
	for _, choices := range images {
		for i := range choices {
			choices[i].Read *= 997 // microseconds
			choices[i].Size *= block
			choices[i].Takes *= block
		}
	}
	return limit * block, images
}

// rungs is an instance like real ones: images of 16 KiB to 60 MiB, packed the harder the slower they read.
func rungs(rng *rand.Rand, images, rungs int) (size.Bytes, [][]Choice) {
	ratios := []float64{1.0, 0.52, 0.43, 0.35, 0.30, 0.285, 0.27, 0.255, 0.25, 0.245}
	speeds := []float64{323, 547, 510, 330, 274, 171, 112, 42, 38, 34} // of the unpacked bytes, in MB/s
	choices := make([][]Choice, images)
	var limit size.Bytes
	for i := range choices {
		unpacked := 16 * 1024 * math.Exp(rng.Float64()*math.Log(60*1024/16))
		for r := range rungs {
			kind := r * len(ratios) / rungs
			s := size.Bytes(unpacked*ratios[kind]*(0.85+0.3*rng.Float64())/float64(block)+1) * block
			read := int64(unpacked / (speeds[kind] * (0.85 + 0.3*rng.Float64())))
			choices[i] = append(choices[i], Choice{read, s, s + size.Bytes(rng.Int64N(int64(s/50/block)+1))*block})
		}
		limit += between(0.3, choices[i])
	}
	return limit, choices
}

func BenchmarkSolve(b *testing.B) {
	measure := func(name string, instance func(*rand.Rand) (size.Bytes, [][]Choice)) {
		b.Run(name, func(b *testing.B) {
			rng := rand.New(rand.NewPCG(3, 4))
			var longest time.Duration
			for b.Loop() {
				limit, images := instance(rng)
				start := time.Now()
				Solve(limit, images)
				longest = max(longest, time.Since(start))
			}
			b.ReportMetric(longest.Seconds(), "longest-s")
		})
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		measure(kind, func(rng *rand.Rand) (size.Bytes, [][]Choice) { return blocks(instance(rng, kind, 60, 13, 1000)) })
	}
	measure("real rungs", func(rng *rand.Rand) (size.Bytes, [][]Choice) { return rungs(rng, 60, 13) })
}
