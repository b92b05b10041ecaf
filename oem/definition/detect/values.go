package detect

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Field is a file in /sys/class/dmi/id, where the kernel shows the firmware's description of the machine.
type Field string

// fields are those that name a maker, a product or a machine (Linux, drivers/firmware/dmi-id.c).
// The kernel lets only root read serial numbers and UUIDs.
var fields = []Field{
	"bios_vendor", "bios_version", "board_name", "board_vendor", "chassis_asset_tag", "chassis_vendor",
	"product_family", "product_name", "product_serial", "product_uuid", "product_version", "sys_vendor",
}

// UnmarshalText accepts the names of fields.
func (f *Field) UnmarshalText(text []byte) error { return oneOf(f, text, fields, "a DMI field") }

// JSONSchema describes what UnmarshalText accepts.
func (Field) JSONSchema() map[string]any { return map[string]any{"enum": fields} }

// Virt is a kind of virtual machine.
type Virt string

// virts are the virtual machines that systemd-detect-virt(1) tells apart.
var virts = []Virt{
	"acrn", "amazon", "apple", "bhyve", "bochs", "google", "kvm", "microsoft", "oracle", "parallels", "powervm",
	"qemu", "qnx", "sre", "uml", "vm-other", "vmware", "xen", "zvm",
}

// UnmarshalText accepts the virtual machines of systemd-detect-virt.
func (v *Virt) UnmarshalText(text []byte) error {
	return oneOf(v, text, virts, "a virtual machine of systemd-detect-virt")
}

// JSONSchema describes what UnmarshalText accepts.
func (Virt) JSONSchema() map[string]any { return map[string]any{"enum": virts} }

func oneOf[T ~string](into *T, text []byte, known []T, what string) error {
	if !slices.Contains(known, T(text)) {
		return fmt.Errorf("%q is not %s; wanted one of %v", text, what, known)
	}
	*into = T(text)
	return nil
}

// Pattern is what a marker must be, ignoring case; * stands for any text, also none, and ? for any one character.
// With ! before it the marker must not be so, or be missing.
type Pattern string

// Negated tells whether the pattern says what a marker must not be, and returns that.
func (p Pattern) Negated() (Pattern, bool) {
	text, is := strings.CutPrefix(string(p), "!")
	return Pattern(text), is
}

// UnmarshalText refuses empty text and space at either end, which no marker has.
func (p *Pattern) UnmarshalText(text []byte) error {
	if bare, _ := Pattern(text).Negated(); bare == "" || strings.TrimSpace(string(bare)) != string(bare) || strings.TrimSpace(string(text)) != string(text) {
		return fmt.Errorf("%q; wanted text without leading or trailing space; * and ? are wildcards, ! negates", text)
	}
	*p = Pattern(text)
	return nil
}

// JSONSchema describes what UnmarshalText accepts.
func (Pattern) JSONSchema() map[string]any { return map[string]any{"pattern": `^\S(.*\S)?$`} }

var wildcards = strings.NewReplacer(`\*`, ".*", `\?`, ".")

// Match tells whether a marker matches the pattern. A missing marker matches negated ones only.
func (p Pattern) Match(marker string) bool {
	if bare, negated := p.Negated(); negated {
		return !bare.Match(marker)
	}
	expression := regexp.MustCompile("(?is)^" + wildcards.Replace(regexp.QuoteMeta(string(p))) + "$")
	return marker != "" && expression.MatchString(marker)
}

// any tells whether one of several markers matches, or none of them if the pattern is negated. An empty pattern always matches.
func (p Pattern) any(markers []string) bool {
	if bare, negated := p.Negated(); negated {
		return !slices.ContainsFunc(markers, bare.Match)
	}
	return p == "" || slices.ContainsFunc(markers, p.Match)
}
