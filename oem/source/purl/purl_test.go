package purl

import (
	"testing"

	"github.com/flatcar/oem-sysext/oem/source/input"
)

func TestOf(t *testing.T) {
	for want, input := range map[string]input.Input{
		"pkg:deb/debian/libglib2.0-0t64@2.84.4-3~deb13u5?arch=amd64":                    {Kind: "deb", Name: "libglib2.0-0t64", Version: "2.84.4-3~deb13u5"},
		"pkg:deb/debian/hcloud-cli@1.39.0-2%2Bb9?arch=amd64":                            {Kind: "deb", Name: "hcloud-cli", Version: "1.39.0-2+b9"},
		"pkg:deb/debian/libstdc%2B%2B6@1:14.2.0?arch=amd64":                             {Kind: "deb", Name: "libstdc++6", Version: "1:14.2.0"},
		"pkg:golang/github.com/awslabs/amazon-ecr-credential-helper/ecr-login@v0.12.0":  {Kind: "go", Name: "github.com/awslabs/amazon-ecr-credential-helper/ecr-login", Version: "v0.12.0"},
		"pkg:golang/github.com/googlecloudplatform/guest-agent@v0.0.0-1%2Bincompatible": {Kind: "go", Name: "github.com/GoogleCloudPlatform/guest-agent", Version: "v0.0.0-1+incompatible"},
		"pkg:ebuild/app-emulation/open-vm-tools@12.4.5-r1":                              {Kind: "binpkg", Name: "app-emulation/open-vm-tools", Version: "12.4.5-r1"},
		"": {Kind: "file", Name: "chrony/files/usr/share/chrony/oem.conf"},
	} {
		if got := Of(input, "amd64"); got != want {
			t.Errorf("%v is %q; wanted %q", input, got, want)
		}
	}
}
