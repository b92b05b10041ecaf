package release

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

// formatSums writes sums as sha256sum --check reads them.
func formatSums(sums map[string]digest.SHA256) []byte {
	var list strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&list, "%v  %s\n", sums[name], name)
	}
	return []byte(list.String())
}

func readSums(dir string) (map[string]digest.SHA256, error) {
	content, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return nil, err
	}
	return verify.ParseSums(content)
}

// addSum adds to a release's sums a file that came later, such as a proof. Signatures that there were are then to be made anew.
func addSum(dir, name string, sum digest.SHA256) error {
	sums, err := readSums(dir)
	if err != nil {
		return err
	}
	sums[name] = sum
	return atomicfile.WriteBytes(filepath.Join(dir, sumsFile), 0o644, formatSums(sums))
}

// hasSums tells whether a release's sums are these, but for files that came later, and for the report, which proofs go into.
func hasSums(dir string, want []byte) bool {
	sums, err := readSums(dir)
	wanted, wantedErr := verify.ParseSums(want)
	if err != nil || wantedErr != nil {
		return false
	}
	sums[reportFile] = wanted[reportFile]
	maps.DeleteFunc(sums, func(name string, _ digest.SHA256) bool { return isLater(name) })
	return string(formatSums(sums)) == string(want)
}
