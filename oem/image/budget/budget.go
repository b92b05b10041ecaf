// Package budget describes where images can go, and the space available there.
package budget

import "github.com/flatcar/oem-sysext/oem/host/size"

// Placement is where a platform's tools go.
type Placement string

// The placements.
const (
	InUsr        Placement = "usr"           // embedded in /usr, one image per layer
	OnOEM        Placement = "oem-partition" // one image for the OEM partition, updated as Flatcar does today
	InBothPlaces Placement = "both"          // one image, embedded and for the OEM partition
)

// Embedded tells whether the platform's tools are in /usr.
func (p Placement) Embedded() bool { return p == InUsr || p == InBothPlaces }

// Whole tells whether one image holds all of the platform's tools, for the OEM partition.
func (p Placement) Whole() bool { return p == OnOEM || p == InBothPlaces }

// Budget is space shared by images.
type Budget struct {
	Name  string     `json:"name"`
	Limit size.Bytes `json:"limit"`
	Used  size.Bytes `json:"used"`
	Fixed size.Bytes `json:"fixed,omitempty"` // part of Used that does not depend on images
}

// Left is the space left; negative if exceeded.
func (b Budget) Left() size.Bytes { return b.Limit - b.Used }
