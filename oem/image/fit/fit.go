// Package fit decides how each image is packed and where it goes, so that all of them fit and what boots is read fastest.
//
// It only does arithmetic: what an image takes when it is packed one way it asks whoever packs, and asks as little as it can.
package fit

import (
	"fmt"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/oem/image/rung"
)

// Item is one image to be decided about. Its options differ in how it is packed, and may differ in where it goes.
type Item struct {
	Name        string
	Activations int // platforms that activate it; reading it counts as often
	Options     []Option
}

// Option is one way to deal with an item.
type Option struct {
	Rung      rung.Rung
	Placement budget.Placement
	Unpacked  size.Bytes // the sum of the sizes of the files in it
	Demoted   bool       // the platform gets a placement that was not its first choice
}

// Taken is what a packed image takes.
type Taken struct {
	Size size.Bytes // of its file
	Cost size.Bytes // of the file system's room, once it is embedded
}

// Decision is what was chosen for an item.
type Decision struct {
	Option int // index in the item's options
	Taken
	Read int64 // microseconds of a cold read of all its files, for one platform
}

// Plan is a decision for every item, and what becomes of the budgets.
type Plan struct {
	Decisions []Decision
	Budgets   []budget.Budget // what is embedded counts in all of them
}

// OverBudgetError says that even the smallest choice for every image is too much.
type OverBudgetError struct {
	Budgets  []budget.Budget // as they were with the smallest choices
	Smallest []Smallest      // of the items, in their order
}

// Smallest is the smallest that an item can get.
type Smallest struct {
	Name string
	Rung rung.Rung
	Taken
	Unpacked size.Bytes // the sum of the sizes of the files in it
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

// TooLargeError says that one image is too large for the room that it has for itself.
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
