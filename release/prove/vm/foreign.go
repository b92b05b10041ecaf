package vm

import _ "embed"

//go:embed foreign.sh
var foreignScript string

// Foreign is an image that somebody puts where a machine looks for extensions.
type Foreign struct {
	Name    string
	Content []byte
	Policy  string // of systemd.image-policy(7), the machine's own where it is empty
}

// Attempt is what a refresh did while a foreign image was there.
type Attempt struct {
	Name   string   `json:"name"`
	Status int      `json:"status"` // that systemd-sysext ended with
	Merged []string `json:"merged"` // after it
	Why    string   `json:"why"`    // what the command oem-sysext says of the image
}
