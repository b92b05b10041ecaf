package platform

import (
	"strings"
	"testing"
)

// TestMarkersThatMeet refuses platforms that one machine can be of both, unless they are ordered.
func TestMarkersThatMeet(t *testing.T) {
	rules := func(rule string, more ...string) string {
		return "kernel_id: ID\ndetect:\n  - {virt: uml}\n  - " + rule + "\n" + strings.Join(more, "\n") + "\n"
	}
	for what, c := range map[string]struct{ mine, other, want string }{
		"the same vendor":               {"{dmi: {sys_vendor: QEMU}}", "{dmi: {sys_vendor: qemu}}", "platforms/mine.yaml:8: detect: a machine that fits this can fit a rule of has as well (platforms/has.yaml:8); narrow it, or add detect_before: [has] here or detect_before: [mine] there"},
		"wildcards that meet":           {"{dmi: {product_name: 'Standard PC*2009)'}}", "{dmi: {product_name: 'Standard PC (*'}}", "can fit a rule of has"},
		"a question mark":               {"{dmi: {product_name: 'a?c'}}", "{dmi: {product_name: 'ab*'}}", "can fit a rule of has"},
		"one of two fields":             {"{dmi: {sys_vendor: A, product_name: X}}", "{dmi: {sys_vendor: A}}", "can fit a rule of has"},
		"virt with more":                {"{virt: xen, dmi: {product_name: X}}", "{virt: xen, disk_label: l}", "can fit a rule of has"},
		"an argument":                   {"{kernel_argument: cloud*}", "{kernel_argument: cloudy}", "can fit a rule of has"},
		"other values":                  {"{dmi: {sys_vendor: QEMU}}", "{dmi: {sys_vendor: QEMU2}}", ""},
		"wildcards that do not meet":    {"{dmi: {product_name: 'a*c'}}", "{dmi: {product_name: 'a*d'}}", ""},
		"the same and another one":      {"{dmi: {sys_vendor: A, product_name: X}}", "{dmi: {sys_vendor: A, product_name: Y}}", ""},
		"other fields":                  {"{dmi: {sys_vendor: A}}", "{dmi: {board_vendor: A}}", ""},
		"what must not be there":        {"{disk_label: l, dmi: {sys_vendor: '!A'}}", "{virt: xen, dmi: {sys_vendor: A}}", ""},
		"a fallback and one that is no": {"{dmi: {sys_vendor: A}, fallback: true}", "{dmi: {sys_vendor: A}}", ""},
	} {
		mine, other := strings.ReplaceAll(rules(c.mine), "virt: uml", "virt: qnx"), rules(c.other)
		_, err := load("has", strings.Replace(other, "ID", "has", 1), "mine", strings.Replace(mine, "ID", "mine", 1))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v; wanted %q", what, err, c.want)
		}
		for _, order := range [][2]string{{"detect_before: [mine]\n", ""}, {"", "detect_before: [has]\n"}} {
			if _, err := load("has", strings.Replace(other, "ID", "has", 1)+order[0], "mine", strings.Replace(mine, "ID", "mine", 1)+order[1]); err != nil {
				t.Errorf("%s, ordered: %v", what, err)
			}
		}
	}
}

// TestMarkersOfKnownMachines refuses a platform that takes machines that are known to be of another one.
func TestMarkersOfKnownMachines(t *testing.T) {
	const droplet = "kernel_id: digitalocean\ndetect: [{dmi: {sys_vendor: DigitalOcean}}]\n"
	for rule, want := range map[string]string{
		"{virt: kvm}":                        "platforms/mine.yaml:6: detect: this fits a machine of digitalocean (",
		"{dmi: {bios_vendor: DigitalOcean}}": "sys_vendor DigitalOcean, virt kvm); narrow it, or add detect_before: [mine] to platforms/digitalocean.yaml",
		"{dmi: {board_name: 'D*'}}":          "this fits a machine of digitalocean",
		"{dmi: {bios_vendor: 'Hetz*'}}":      "",
		"{virt: kvm, fallback: true}":        "",
	} {
		_, err := load("digitalocean", droplet, "mine", "kernel_id: mine\ndetect: ["+rule+"]\n")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v; wanted %q", rule, err, want)
		}
		if _, err := load("digitalocean", droplet+"detect_before: [mine]\n", "mine", "kernel_id: mine\ndetect: ["+rule+"]\n"); err != nil {
			t.Errorf("%s, ordered: %v", rule, err)
		}
	}
}
