//go:build nightly

package testreaders

import "testing"

// TestNightlyReaders compares all mutants, with three times as many random ones.
func TestNightlyReaders(t *testing.T) {
	for name, make := range formats {
		t.Run(name, func(t *testing.T) { compare(t, make(t), true) })
	}
}

// TestNightlySquashfs compares a part: our reader starts a sandbox for each, and some images keep it busy.
func TestNightlySquashfs(t *testing.T) { compare(t, squashfsFormat(t), false) }
