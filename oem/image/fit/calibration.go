package fit

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/rung"
)

// CalibrationFile is where the calibration lies in a checkout.
const CalibrationFile = "oem/image/fit/calibration.json"

//go:embed calibration.json
var calibration []byte

// Calibration is what was measured of each rung on one machine, with this project's own layers.
type Calibration struct {
	Machine string          `json:"machine"` // processor, kernel and tools
	Sample  size.Bytes      `json:"sample"`  // how many bytes of files were read at each rung
	Rungs   map[string]Rate `json:"rungs"`   // by name
}

// Rate is what was measured of one rung.
type Rate struct {
	MBPerSecond int     `json:"mb_per_second"` // 10^6 bytes of files, read once from an image that no cache holds
	LeastSize   Percent `json:"least_size"`    // of the file at rung.Default; a tenth below the least that any sample had
	LeastCost   Percent `json:"least_cost"`    // of what that file takes in /usr; likewise
}

// Percent is a share in hundredths.
type Percent int

func (p Percent) of(b size.Bytes) size.Bytes { return b * size.Bytes(p) / 100 }

// LoadCalibration returns the calibration that is checked in.
func LoadCalibration() (*Calibration, error) {
	var c Calibration
	if err := json.Unmarshal(calibration, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", CalibrationFile, err)
	}
	return &c, nil
}

// Has tells whether a rung was measured.
func (c *Calibration) Has(r rung.Rung) bool { return c.Rungs[r.String()].MBPerSecond > 0 }

// Read returns how many microseconds a cold read of files takes.
func (c *Calibration) Read(r rung.Rung, unpacked size.Bytes) int64 {
	if (r == rung.Rung{}) {
		return 0
	}
	return int64(unpacked) / int64(c.Rungs[r.String()].MBPerSecond)
}

// Encode returns the calibration as it is checked in.
func (c *Calibration) Encode() ([]byte, error) {
	encoded, err := json.MarshalIndent(c, "", "  ")
	return append(encoded, '\n'), err
}
