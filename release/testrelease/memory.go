package testrelease

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// ForgetPeak resets the peak that Peak returns (proc(5), clear_refs and VmHWM).
func ForgetPeak(b *testing.B) {
	b.Helper()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
}

// Peak returns the peak memory of this process since ForgetPeak, in MiB.
func Peak(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.ParseFloat(strings.Fields(after)[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}
