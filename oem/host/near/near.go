// Package near finds the word that a misspelt one is likely to mean.
//
// In go a word and those that are known; out comes a known one that is a few typing errors away, or a text that proposes it.
package near

import (
	"fmt"
	"strings"
)

// Wanted says which words are wanted instead of another one, and the nearest of them first, if any is near.
func Wanted(word string, known []string) string {
	all := "one of " + strings.Join(known, ", ")
	if nearest := Nearest(word, known); nearest != "" {
		return fmt.Sprintf("did you mean %q? Wanted is %s", nearest, all)
	}
	return "wanted " + all
}

// Nearest returns the known word with the fewest typing errors: one, and one more for each four letters, at most. It is empty if none is near.
func Nearest(word string, known []string) string {
	best, least := "", min(len(word)/4+2, len(word))
	for _, candidate := range known {
		if d := Distance(word, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// Distance is the number of typing errors between two words: bytes replaced, left out, added, or swapped with the next
// (optimal string alignment).
func Distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replaced := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, replaced)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
