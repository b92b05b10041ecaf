package vm

import _ "embed"

//go:embed soak.sh
var soakScript string

// Soak is what refreshing the merged images again and again did to a machine. While the first ten refreshes ran it was looked
// for two files without a pause.
type Soak struct {
	Samples          []Sample `json:"samples"`           // one after each ten refreshes
	Looks            int      `json:"looks"`             // how often it was looked for the files
	Away             int      `json:"away"`              // how often the base's was not there
	GoneMicroseconds int      `json:"gone_microseconds"` // the longest time for which the extension's was not there
}

// Sample is what there is in a machine after some refreshes.
type Sample struct {
	Refreshes    int `json:"refreshes"`
	Mounts       int `json:"mounts"`
	Devices      int `json:"devices"`       // loop devices
	AvailableKiB int `json:"available_kib"` // memory that is free or has pages of files, after caches were dropped; the most within five seconds
}
