package detect

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Field is a file of /sys/class/dmi/id, where the kernel shows what the firmware says of the machine.
type Field string

// fields are those that name a maker, a product or a machine (Linux, drivers/firmware/dmi-id.c).
// The kernel lets only root read serial numbers and UUIDs.
var fields = []Field{
	"bios_vendor", "bios_version", "board_name", "board_vendor", "chassis_asset_tag", "chassis_vendor",
	"product_family", "product_name", "product_serial", "product_uuid", "product_version", "sys_vendor",
}

// UnmarshalText accepts the names of fields.
func (f *Field) UnmarshalText(text []byte) error { return oneOf(f, text, fields, "a DMI field") }

// JSONSchema says in a schema what UnmarshalText accepts.
func (Field) JSONSchema() map[string]any { return map[string]any{"enum": fields} }

// Virt is a kind of virtual machine.
type Virt string

// virts are the virtual machines that systemd-detect-virt(1) tells apart.
var virts = []Virt{
	"acrn", "amazon", "apple", "bhyve", "bochs", "google", "kvm", "microsoft", "oracle", "parallels", "powervm",
	"qemu", "qnx", "sre", "uml", "vm-other", "vmware", "xen", "zvm",
}

// UnmarshalText accepts what systemd-detect-virt prints for virtual machines.
func (v *Virt) UnmarshalText(text []byte) error {
	return oneOf(v, text, virts, "what systemd-detect-virt prints")
}

// JSONSchema says in a schema what UnmarshalText accepts.
func (Virt) JSONSchema() map[string]any { return map[string]any{"enum": virts} }

func oneOf[T ~string](into *T, text []byte, known []T, what string) error {
	if !slices.Contains(known, T(text)) {
		return fmt.Errorf("%q is not %s; wanted one of %v", text, what, known)
	}
	*into = T(text)
	return nil
}

// Pattern is what a marker must be, without regard to case: literally, but for * (anything, also nothing) and ? (any one character).
type Pattern string

// UnmarshalText refuses what no marker can be: nothing, and space at an end.
func (p *Pattern) UnmarshalText(text []byte) error {
	if len(text) == 0 || strings.TrimSpace(string(text)) != string(text) {
		return fmt.Errorf("%q; wanted a text without space around it, * and ? for what varies", text)
	}
	*p = Pattern(text)
	return nil
}

// JSONSchema says in a schema what UnmarshalText accepts.
func (Pattern) JSONSchema() map[string]any { return map[string]any{"pattern": `^\S(.*\S)?$`} }

var wildcards = strings.NewReplacer(`\*`, ".*", `\?`, ".")

// Match tells whether a marker is what the pattern asks for. A marker that is not there never is.
func (p Pattern) Match(marker string) bool {
	expression := regexp.MustCompile("(?is)^" + wildcards.Replace(regexp.QuoteMeta(string(p))) + "$")
	return marker != "" && expression.MatchString(marker)
}

// any tells whether one of several markers matches. No pattern asks for nothing.
func (p Pattern) any(markers []string) bool { return p == "" || slices.ContainsFunc(markers, p.Match) }
