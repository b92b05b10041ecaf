// Package disks says what Flatcar's disks have (flatcar/scripts, build_library/disk_layout.json).
package disks

import "github.com/flatcar/oem-sysext/oem/host/size"

// Types of partitions, and the identifiers of the two slots.
const (
	ESPType  = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	UsrType  = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6" // flatcar-rootfs
	DataType = "0fc63daf-8483-4772-8e79-3d69d8477de4"

	UsrAUUID = "7130c94a-213a-4e5a-8e26-6cce9662f132"
	UsrBUUID = "e03dd35c-7c2d-4a47-b3fe-27f15780a57c"
)

// Sizes before release 4487.
const (
	ESPSize = 128 * size.MiB
	OEMSize = 128 * size.MiB
)

// ImagesDir is where extension images lie, relative to /usr. The path is the same in both slots, so a link to it always leads
// into the slot that runs.
const ImagesDir = "share/flatcar/oem-sysext"
