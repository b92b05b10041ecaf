// Package fit decides how each image is packed and where it goes, so that all images fit and reads at boot are fastest.
//
// It only does arithmetic: packed sizes come from a callback, which it calls as rarely as possible.
package fit

import (
	"fmt"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/oem/image/rung"
)

// Item is one image to decide about. Its options differ in packing and possibly in placement.
type Item struct {
	Name        string
	Activations int // platforms that activate it; the weight of its read time
	Options     []Option
}

// Option is one way to pack and place an item.
type Option struct {
	Rung      rung.Rung
	Placement budget.Placement
	Unpacked  size.Bytes // total size of its files
	Demoted   bool       // the placement is not the platform's first choice
}

// Taken is the space that a packed image takes.
type Taken struct {
	Size size.Bytes // of the image file
	Cost size.Bytes // space in the file system once embedded
}

// Decision is the choice for an item.
type Decision struct {
	Option int // index in the item's options
	Taken
	Read int64 // microseconds of a cold read of all its files, for one platform
}

// Plan has a decision for every item, and the resulting budgets.
type Plan struct {
	Decisions []Decision
	Budgets   []budget.Budget // embedded images count in all of them
	// Least is a bound: whatever the rungs, all items take no less in /usr. It follows from the calibration, so nothing is packed for it,
	// and from what the items are at the reference rung, so it grows with them and does not depend on the budget.
	Least size.Bytes
}

// OverBudgetError says that the images exceed the budget even at their smallest.
type OverBudgetError struct {
	Budgets  []budget.Budget // with the smallest choices
	Smallest []Smallest      // in the order of items
}

// Smallest is an item's smallest image.
type Smallest struct {
	Name string
	Rung rung.Rung
	Taken
	Unpacked size.Bytes // total size of its files
}

func (e *OverBudgetError) Error() string {
	var over []string
	for _, b := range e.Budgets {
		if b.Left() < 0 {
			over = append(over, fmt.Sprintf("%s has %v (%d B) and needs %v, %d B too much", b.Name, b.Limit, b.Limit, b.Used, -b.Left()))
		}
	}
	return "the images do not fit, however they are packed: " + strings.Join(over, "; ")
}

// TooLargeError says that one image exceeds the OEM partition.
type TooLargeError struct {
	Name string
	Rung rung.Rung // the smallest one
	Size size.Bytes
	Room size.Bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s takes %v at least (%v), and an OEM partition has room for %v: prune its recipes, or place the platform in /usr",
		e.Name, e.Size, e.Rung, e.Room)
}
