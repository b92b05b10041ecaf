// Package arch names the processor architectures that images are built for.
package arch

import "fmt"

// Arch is an architecture by the name that Debian, Go and Flatcar's boards share.
type Arch string

// The architectures that Flatcar has.
const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
)

// All are the architectures that releases are made for.
var All = []Arch{AMD64, ARM64}

// Parse accepts amd64 and arm64.
func Parse(text string) (Arch, error) {
	switch a := Arch(text); a {
	case AMD64, ARM64:
		return a, nil
	}
	return "", fmt.Errorf("%q is not an architecture; wanted amd64 or arm64", text)
}

// UnmarshalText reads what Parse reads.
func (a *Arch) UnmarshalText(text []byte) (err error) {
	*a, err = Parse(string(text))
	return err
}

// JSONSchema says in a schema what UnmarshalText accepts.
func (Arch) JSONSchema() map[string]any { return map[string]any{"enum": []Arch{AMD64, ARM64}} }

// Systemd returns the name in extension-release's ARCHITECTURE= (os-release(5), systemd.unit(5) ConditionArchitecture=).
func (a Arch) Systemd() string {
	if a == AMD64 {
		return "x86-64"
	}
	return string(a)
}
