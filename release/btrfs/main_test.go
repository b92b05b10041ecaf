package btrfs

import (
	"testing"

	"github.com/flatcar/oem-sysext/oem/toolroot"
)

// testTools returns the tool root with btrfs-progs.
func testTools(testing.TB) *toolroot.Root { return toolroot.At("/tmp/p/tools") }
