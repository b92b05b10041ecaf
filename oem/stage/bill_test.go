package stage

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/source/spdx"
)

// TestBill says that an image lists the packages of what is in it, and that one without packages has no list.
func TestBill(t *testing.T) {
	chrony := part("chrony", files("/usr/bin/chronyd", "chrony"))
	chrony.Inputs = []input.Input{
		{Kind: "deb", Name: "chrony", Version: "4.6-1+b1", Digest: "sha256:" + digest.Of([]byte("chrony")).String()},
		{Kind: "file", Name: "chrony/files/usr/share/chrony/oem.conf", Digest: "sha256:" + digest.Of(nil).String()},
	}
	shell := part("shell", files("/usr/bin/sh", "shell")) // the base has it
	shell.Inputs = []input.Input{{Kind: "deb", Name: "dash", Version: "0.5", Digest: "sha256:" + digest.Of([]byte("dash")).String()}}
	agent := part("agent", files("/usr/bin/agent", "agent"))
	agent.Inputs = []input.Input{{Kind: "go", Name: "example.org/Agent", Version: "v1.2.3", Digest: "h1:sum="}}

	var written spdx.Document
	kept := func(content string) (digest.SHA256, error) {
		if content[0] == '{' {
			if err := json.Unmarshal([]byte(content), &written); err != nil {
				t.Fatal(err)
			}
		}
		return digest.Of([]byte(content)), nil
	}
	stager := newStager()
	stager.Keep = kept
	staged, err := stager.Stage(t.Context(), azure, "4.6-1+b1", []Part{chrony, shell, agent})
	if err != nil {
		t.Fatal(err)
	}
	const file = "/usr/share/sbom/oem-azure.spdx.json"
	if e := staged.Tree.At(file); e == nil || e.Mode != 0o644 {
		t.Errorf("%s is %v", file, e)
	}
	var got []string
	for _, p := range written.Packages {
		locator := ""
		if len(p.External) > 0 {
			locator = p.External[0].Locator
		}
		got = append(got, p.Name+" "+p.Version+" "+locator)
	}
	want := []string{"oem-azure 4.6-1+b1 ", "chrony 4.6-1+b1 pkg:deb/debian/chrony@4.6-1%2Bb1?arch=amd64", "example.org/Agent v1.2.3 pkg:golang/example.org/agent@v1.2.3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	contained := 0
	for _, r := range written.Relationships {
		if r.Element == "SPDXRef-Image" && r.Type == "CONTAINS" {
			contained++
		}
	}
	if contained != 2 {
		t.Errorf("the image has %d packages", contained)
	}

	staged, err = stager.Stage(t.Context(), azure, "1", []Part{shell, part("files", files("/usr/share/x", "x"))})
	if err != nil {
		t.Fatal(err)
	}
	if staged.Tree.At(file) != nil {
		t.Error("a list without packages")
	}
}
