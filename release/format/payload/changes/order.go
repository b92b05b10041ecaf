package changes

import (
	"slices"
	"sort"
)

// inOrder puts moves into an order in which none reads what one before it has written. Where they go round in a circle, one of them
// is left out, so that its blocks are sent anew. The moves are in the order of where they go.
func inOrder(moves []Move) []Move {
	// A move must wait for those that read what it writes.
	waits := make([]int, len(moves))     // for so many
	frees := make([][]int, len(moves))   // which ones wait for this one
	readers := make([][]int, len(moves)) // for which ones this one waits
	for reader, m := range moves {
		for writer := range overlapping(moves, m.Source()) {
			if writer != reader {
				waits[writer]++
				frees[reader] = append(frees[reader], writer)
				readers[writer] = append(readers[writer], reader)
			}
		}
	}
	var ordered []Move
	var ready []int
	done := make([]bool, len(moves))
	finish := func(i int) {
		done[i] = true
		for _, writer := range frees[i] {
			if waits[writer]--; waits[writer] == 0 {
				ready = append(ready, writer)
			}
		}
	}
	for i, n := range waits {
		if n == 0 {
			ready = append(ready, i)
		}
	}
	for next := 0; ; {
		for len(ready) > 0 {
			i := ready[0]
			ready = ready[1:]
			if !done[i] {
				ordered = append(ordered, moves[i])
				finish(i)
			}
		}
		for next < len(moves) && done[next] {
			next++
		}
		if next == len(moves) {
			return ordered
		}
		finish(inCircle(next, readers, done))
	}
}

// overlapping yields the moves that write into a run.
func overlapping(moves []Move, r Run) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		first := sort.Search(len(moves), func(i int) bool { return moves[i].Target().End() > r.Start })
		for i := first; i < len(moves) && moves[i].Target().overlaps(r); i++ {
			if !yield(i) {
				return
			}
		}
	}
}

// inCircle follows a move that waits to the ones that it waits for, until it comes to one again.
func inCircle(i int, readers [][]int, done []bool) int {
	seen := map[int]bool{}
	for !seen[i] {
		seen[i] = true
		i = readers[i][slices.IndexFunc(readers[i], func(r int) bool { return !done[r] })]
	}
	return i
}
