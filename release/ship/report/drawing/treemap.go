package drawing

import "math"

// Rect is a rectangle in whatever unit its maker uses, from the upper left corner.
type Rect struct{ X, Y, W, H float64 }

// Squarify divides a rectangle into one piece per area, in proportion, without gaps and overlaps, each piece
// as near to a square as rows allow (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000).
// Areas are positive; pieces get the best shapes when the largest come first.
func Squarify(areas []float64, into Rect) []Rect {
	pieces := make([]Rect, 0, len(areas))
	for len(areas) > 0 {
		left := sum(areas)
		row := areas[:rowLength(areas, left, into)]
		areas = areas[len(row):]
		share := sum(row) / left
		if len(areas) == 0 {
			share = 1 // whatever rounding says
		}
		line, rest := cut(into, share, into.W >= into.H)
		pieces = append(pieces, along(row, line, into.W < into.H)...)
		into = rest
	}
	return pieces
}

// rowLength returns how many of the areas make a row along the shorter side whose worst piece is best.
func rowLength(areas []float64, left float64, into Rect) int {
	short, long := min(into.W, into.H), max(into.W, into.H)
	best := math.Inf(1)
	total, smallest, largest := 0.0, math.Inf(1), 0.0
	for i, area := range areas {
		total += area
		smallest, largest = min(smallest, area), max(largest, area)
		thickness := long * total / left
		worst := max(short*largest/total/thickness, thickness/(short*smallest/total))
		if worst > best {
			return i
		}
		best = worst
	}
	return len(areas)
}

// along divides a row, from left to right or else from top to bottom.
func along(areas []float64, row Rect, sideways bool) []Rect {
	pieces := make([]Rect, 0, len(areas))
	for i, area := range areas[:len(areas)-1] {
		var piece Rect
		piece, row = cut(row, area/sum(areas[i:]), sideways)
		pieces = append(pieces, piece)
	}
	return append(pieces, row)
}

// cut takes a share off the left of a rectangle, or else off the top.
//
// The conversions keep a processor from fusing a product and a sum into one operation that rounds otherwise
// (Go specification, Floating-point operators), so that all draw the same picture.
func cut(from Rect, share float64, sideways bool) (piece, rest Rect) {
	piece, rest = from, from
	if sideways {
		piece.W = float64(from.W * share)
		rest.X += piece.W
		rest.W -= piece.W
	} else {
		piece.H = float64(from.H * share)
		rest.Y += piece.H
		rest.H -= piece.H
	}
	return piece, rest
}

func sum(numbers []float64) float64 {
	total := 0.0
	for _, n := range numbers {
		total += n
	}
	return total
}
