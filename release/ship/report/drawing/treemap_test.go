package drawing

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSquarifyFillsWithoutOverlap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		areas := make([]float64, 1+random.IntN(60))
		for i := range areas {
			areas[i] = math.Exp(12 * random.Float64()) // six orders of magnitude, as files have
		}
		slices.SortFunc(areas, func(a, b float64) int { return int(math.Copysign(1, b-a)) })
		into := Rect{X: 3, Y: 5, W: 1 + 99*random.Float64(), H: 1 + 99*random.Float64()}
		checkPieces(t, areas, into, Squarify(areas, into))
		if t.Failed() {
			t.Fatalf("areas %v in %v", areas, into)
		}
	}
}

// checkPieces proves a tiling: all inside, none overlapping, and areas as asked for, whose sum is all there is.
func checkPieces(t *testing.T, areas []float64, into Rect, pieces []Rect) {
	t.Helper()
	const tolerance = 1e-6
	if len(pieces) != len(areas) {
		t.Fatalf("%d pieces for %d areas", len(pieces), len(areas))
	}
	total := sum(areas)
	for i, p := range pieces {
		want := areas[i] / total * into.W * into.H
		if got := p.W * p.H; math.Abs(got-want) > tolerance*into.W*into.H {
			t.Errorf("piece %d has the area %g; want %g", i, got, want)
		}
		if p.X < into.X-tolerance || p.Y < into.Y-tolerance || p.X+p.W > into.X+into.W+tolerance || p.Y+p.H > into.Y+into.H+tolerance {
			t.Errorf("piece %d %v is not inside %v", i, p, into)
		}
		for j, q := range pieces[:i] {
			wide := min(p.X+p.W, q.X+q.W) - max(p.X, q.X)
			high := min(p.Y+p.H, q.Y+q.H) - max(p.Y, q.Y)
			if wide > tolerance && high > tolerance {
				t.Errorf("pieces %d %v and %d %v overlap", j, q, i, p)
			}
		}
	}
}

func TestSquarifyPrefersSquares(t *testing.T) {
	// The example of the paper: areas 6 6 4 3 2 2 1 in 6 × 4.
	pieces := Squarify([]float64{6, 6, 4, 3, 2, 2, 1}, Rect{W: 6, H: 4})
	for i, want := range []Rect{
		{0, 0, 3, 2}, {0, 2, 3, 2}, // a column of two
		{3, 0, 12.0 / 7, 7.0 / 3}, {3 + 12.0/7, 0, 9.0 / 7, 7.0 / 3}, // a row of two
	} {
		got := pieces[i]
		if math.Abs(got.X-want.X)+math.Abs(got.Y-want.Y)+math.Abs(got.W-want.W)+math.Abs(got.H-want.H) > 1e-9 {
			t.Errorf("piece %d is %v; want %v", i, got, want)
		}
	}
}

func TestSquarifyNothing(t *testing.T) {
	if got := Squarify(nil, Rect{W: 1, H: 1}); len(got) != 0 {
		t.Errorf("no areas gave %v", got)
	}
}
