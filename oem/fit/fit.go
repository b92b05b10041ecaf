// Package fit decides how each image is packed and where it goes, so that all of them fit and what boots is read fastest.
//
// It only does arithmetic: it opens no file and runs no program.
package fit

import "github.com/flatcar/oem-sysext/oem/size"

// Placement says where a platform's tools go.
type Placement string

// The placements.
const (
	InUsr        Placement = "usr"           // embedded in /usr, in as many images as its layers are
	OnOEM        Placement = "oem-partition" // one image for the OEM partition, for the classic way of updating
	InBothPlaces Placement = "both"
)

// Budget is room that images share, or that one of them has for itself.
type Budget struct {
	Name  string     `json:"name"`
	Limit size.Bytes `json:"limit"`
	Used  size.Bytes `json:"used"`
	Fixed size.Bytes `json:"fixed,omitempty"` // the part of Used that no image decides
}
