package plan

import (
	"crypto/rand"
	"crypto/rsa"
	"slices"
	"testing"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/profiles"
	"github.com/flatcar/oem-sysext/release/setup"
)

// What the release puts into /usr itself is known before it is put there.
func TestOwnPaths(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &Planner{Keys: &setup.Keys{}}
	const conf, key = "/usr/share/flatcar/update.conf", "/usr/share/update_engine/update-payload-key.pub.pem"
	always := []string{
		"/usr/share/flatcar/oem-sysext", "/usr/bin/oem-sysext", "/usr/lib/flatcar/oem-sysext-link", "/usr/lib/systemd/system/oem-sysext-link.service",
	}
	for name, c := range map[string]struct {
		updates partition.Updates
		more    []string
	}{
		"the base's updates": {},
		"a group":            {partition.Updates{Profile: &profiles.Update{Group: strictyaml.Text{Value: "edge"}}}, []string{conf}},
		"a key":              {partition.Updates{Profile: &profiles.Update{}, Trusted: &private.PublicKey}, []string{key}},
	} {
		own := p.ownPaths(c.updates)
		for _, path := range append(always, c.more...) {
			if !slices.Contains(own, path) {
				t.Errorf("%s: no %s in %q", name, path, own)
			}
		}
		for _, path := range []string{conf, key} {
			if slices.Contains(own, path) && !slices.Contains(c.more, path) {
				t.Errorf("%s: %s in %q", name, path, own)
			}
		}
	}
}
