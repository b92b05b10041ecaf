// Package budget says where images can go, and how much room is there.
package budget

import "github.com/flatcar/oem-sysext/oem/host/size"

// Placement says where a platform's tools go.
type Placement string

// The placements.
const (
	InUsr        Placement = "usr"           // embedded in /usr, in as many images as its layers are
	OnOEM        Placement = "oem-partition" // one image for the OEM partition, for the classic way of updating
	InBothPlaces Placement = "both"          // one image, embedded and for the OEM partition
)

// Embedded tells whether the platform's tools are in /usr.
func (p Placement) Embedded() bool { return p == InUsr || p == InBothPlaces }

// Whole tells whether one image holds all of the platform's tools, for the OEM partition.
func (p Placement) Whole() bool { return p == OnOEM || p == InBothPlaces }

// Budget is room that images share.
type Budget struct {
	Name  string     `json:"name"`
	Limit size.Bytes `json:"limit"`
	Used  size.Bytes `json:"used"`
	Fixed size.Bytes `json:"fixed,omitempty"` // the part of Used that no image decides
}

// Left is what may still be used; negative when too much is.
func (b Budget) Left() size.Bytes { return b.Limit - b.Used }
