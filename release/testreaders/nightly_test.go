//go:build nightly

package testreaders

import "testing"

// TestNightlyReaders compares all mutants, with ten times as many random ones.
func TestNightlyReaders(t *testing.T) {
	for name, make := range formats {
		t.Run(name, func(t *testing.T) { compare(t, make(t), true) })
	}
}
