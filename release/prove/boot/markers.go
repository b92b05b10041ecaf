package boot

import (
	"maps"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/detect"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
)

// smbiosKeys are QEMU's names of DMI fields: the type of the table and the key in it.
var smbiosKeys = map[detect.Field][2]string{
	"bios_vendor": {"0", "vendor"}, "bios_version": {"0", "version"},
	"sys_vendor": {"1", "manufacturer"}, "product_name": {"1", "product"}, "product_version": {"1", "version"},
	"product_serial": {"1", "serial"}, "product_family": {"1", "family"},
	"board_vendor": {"2", "manufacturer"}, "board_name": {"2", "product"},
	"chassis_vendor": {"3", "manufacturer"}, "chassis_asset_tag": {"3", "asset"},
}

// Markers returns values of -smbios by which a machine fits the platform's first rule that only asks for what QEMU can show.
// Without such a rule the machine is one of QEMU.
func Markers(p *platform.Platform) []string {
	at := slices.IndexFunc(p.Detect, func(r detect.Rule) bool {
		_, hasUUID := r.DMI["product_uuid"]
		return len(r.DMI) > 0 && !hasUUID && r.Virt == "" && r.KernelArgument == "" && r.DiskLabel == "" && r.Hypervisor == detect.Hypervisor{}
	})
	if at < 0 {
		return nil
	}
	tables := map[string]string{}
	shown := map[detect.Field]string{"sys_vendor": "Trial", "product_name": "Trial"} // not what QEMU says by itself
	for field, pattern := range p.Detect[at].DMI {
		if _, negated := pattern.Negated(); negated {
			continue
		}
		shown[field] = strings.NewReplacer("*", "", "?", "x").Replace(string(pattern))
	}
	for _, field := range slices.Sorted(maps.Keys(shown)) {
		key := smbiosKeys[field]
		tables[key[0]] += "," + key[1] + "=" + strings.ReplaceAll(shown[field], ",", ",,")
	}
	var values []string
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		values = append(values, "type="+table+tables[table])
	}
	return values
}
