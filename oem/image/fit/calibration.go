package fit

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/rung"
)

// CalibrationFile is the calibration's path in a checkout.
const CalibrationFile = "oem/image/fit/calibration.json"

//go:embed calibration.json
var calibration []byte

// Calibration has measurements of each rung on one machine, with this project's own layers.
type Calibration struct {
	Machine string          `json:"machine"` // processor, kernel and tools
	Sample  size.Bytes      `json:"sample"`  // how many bytes of files were read at each rung
	Rungs   map[string]Rate `json:"rungs"`   // by name
}

// Rate is the measurement of one rung.
type Rate struct {
	MBPerSecond int     `json:"mb_per_second"` // of files in 10^6 bytes per second, in a cold read
	LeastSize   Percent `json:"least_size"`    // of the image at rung.Default; a tenth below the smallest sample
	LeastCost   Percent `json:"least_cost"`    // of its space in /usr; likewise
}

// Percent is a share in hundredths.
type Percent int

func (p Percent) of(b size.Bytes) size.Bytes { return b * size.Bytes(p) / 100 }

// LoadCalibration returns the checked-in calibration.
func LoadCalibration() (*Calibration, error) {
	var c Calibration
	if err := json.Unmarshal(calibration, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", CalibrationFile, err)
	}
	return &c, nil
}

// Has tells whether a rung was measured.
func (c *Calibration) Has(r rung.Rung) bool { return c.Rungs[r.String()].MBPerSecond > 0 }

// Read returns the microseconds of a cold read of files.
func (c *Calibration) Read(r rung.Rung, unpacked size.Bytes) int64 {
	if (r == rung.Rung{}) {
		return 0
	}
	return int64(unpacked) / int64(c.Rungs[r.String()].MBPerSecond)
}

// Encode returns the content of CalibrationFile.
func (c *Calibration) Encode() ([]byte, error) {
	encoded, err := json.MarshalIndent(c, "", "  ")
	return append(encoded, '\n'), err
}
