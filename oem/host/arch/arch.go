// Package arch names the processor architectures that images are built for.
package arch

import (
	"debug/elf"
	"fmt"
	"slices"
)

// Arch is an architecture under the name that Debian, Go and Flatcar's boards share.
type Arch string

// The architectures that Flatcar has.
const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
)

// All are the architectures that releases are made for.
var All = []Arch{AMD64, ARM64}

// Parse accepts the names of All.
func Parse(text string) (Arch, error) {
	if a := Arch(text); slices.Contains(All, a) {
		return a, nil
	}
	return "", fmt.Errorf("%q is not an architecture; wanted amd64 or arm64", text)
}

// UnmarshalText reads what Parse reads.
func (a *Arch) UnmarshalText(text []byte) (err error) {
	*a, err = Parse(string(text))
	return err
}

// JSONSchema describes what UnmarshalText accepts.
func (Arch) JSONSchema() map[string]any { return map[string]any{"enum": All} }

// names are what others call an architecture, and what its programs look like.
type names struct {
	systemd     string // os-release(5), ARCHITECTURE= of extension-release
	triplet     string // of Debian's multiarch directories and GNU's compilers
	interpreter string // of dynamically linked programs
	machine     elf.Machine
	filter      string // of xz for machine code (xz(1), BCJ)
}

var table = map[Arch]names{
	AMD64: {"x86-64", "x86_64-linux-gnu", "/lib64/ld-linux-x86-64.so.2", elf.EM_X86_64, "x86"},
	ARM64: {"arm64", "aarch64-linux-gnu", "/lib/ld-linux-aarch64.so.1", elf.EM_AARCH64, "arm64"},
}

// Systemd returns the name in extension-release's ARCHITECTURE= (os-release(5), systemd.unit(5) ConditionArchitecture=).
func (a Arch) Systemd() string { return table[a].systemd }

// Triplet returns the name of Debian's multiarch directories and of GNU's compilers.
func (a Arch) Triplet() string { return table[a].triplet }

// Interpreter returns the path of the loader of dynamically linked programs.
func (a Arch) Interpreter() string { return table[a].interpreter }

// Machine returns the number in ELF headers.
func (a Arch) Machine() elf.Machine { return table[a].machine }

// Filter returns the name of the filter by which xz packs machine code better.
func (a Arch) Filter() string { return table[a].filter }
