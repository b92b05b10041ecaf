package ship

import (
	"maps"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sums"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

func readSums(dir string) (map[string]digest.SHA256, error) {
	content, err := os.ReadFile(filepath.Join(dir, sums.FileName))
	if err != nil {
		return nil, err
	}
	return sums.Parse(content)
}

// AddSum adds a later file, such as a proof, to a release's sums. Existing signatures of the sums become invalid.
func AddSum(dir, name string, sum digest.SHA256) error {
	all, err := readSums(dir)
	if err != nil {
		return err
	}
	all[name] = sum
	return atomicfile.WriteBytes(filepath.Join(dir, sums.FileName), 0o644, sums.Format(all))
}

// hasSums reports whether a release's sums are these, apart from later files and the report, which includes proofs.
func hasSums(dir string, want []byte) bool {
	all, err := readSums(dir)
	wanted, wantedErr := sums.Parse(want)
	if err != nil || wantedErr != nil {
		return false
	}
	all[manifest.ReportFile] = wanted[manifest.ReportFile]
	maps.DeleteFunc(all, func(name string, _ digest.SHA256) bool { return verify.IsLater(name) })
	return string(sums.Format(all)) == string(want)
}
