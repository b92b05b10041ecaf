package verify

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// maxProof is the maximum length of a proof. One of twenty machines has 100 kB.
const maxProof = 16 << 20

// proof is the part of a proof that is checked.
type proof struct {
	Version  string                   `json:"version"`
	Arch     string                   `json:"arch"`
	Booted   map[string]digest.SHA256 `json:"booted"`
	Machines []struct {
		Platform string `json:"platform"`
		Step     string `json:"step"`
		Error    string `json:"error"`
		Outcomes []struct {
			Assertion string `json:"assertion"`
			Error     string `json:"error"`
		} `json:"outcomes"`
	} `json:"machines"`
}

// proofs checks that the existing proofs are about this release and have no failures.
func (c *check) proofs() {
	for _, kind := range Proofs {
		name := kind.Name
		if !c.there(name) || c.named[name] || c.result.Manifest == nil {
			continue
		}
		var p proof
		if err := json.Unmarshal(c.kept[name], &p); err != nil {
			c.faultOf(name, "is not a proof: %v", err)
			continue
		}
		c.proof(name, p)
	}
}

func (c *check) proof(name string, p proof) {
	if m := c.result.Manifest; p.Version != m.Version || p.Arch != m.Arch || len(p.Booted) == 0 || len(p.Machines) == 0 {
		c.faultOf(name, "is about %d machines with %d files of release %q for %q; wanted at least one of each, of %s for %s",
			len(p.Machines), len(p.Booted), p.Version, p.Arch, m.Version, m.Arch)
		return
	}
	for _, file := range slices.Sorted(maps.Keys(p.Booted)) {
		if c.result.Manifest.File(file).SHA256 != p.Booted[file] {
			c.faultOf(name, "is about a different %s, with sha256 %v", file, p.Booted[file])
		}
	}
	for _, m := range p.Machines {
		if m.Error != "" {
			c.fault("%s: the machine of %s did not answer: %s", name, m.Platform, m.Error)
		}
		for _, o := range m.Outcomes {
			if o.Error != "" {
				c.fault("%s: %s: FAILED: %s: %s", name, m.Platform, o.Assertion, o.Error)
			}
		}
	}
}
