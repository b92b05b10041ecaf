package sbom

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

var (
	agent = input.Input{Kind: "deb", Name: "agent", Version: "1:2.0-1+b1", Digest: "sha256:" + digest.Of([]byte("agent")).String()}
	glib  = input.Input{Kind: "deb", Name: "libglib2.0-0t64", Version: "2.84.4-3", Digest: "sha256:" + digest.Of([]byte("glib")).String()}
	unit  = input.Input{Kind: "file", Name: "agent/files/agent.service", Digest: "sha256:" + digest.Of([]byte("unit")).String()}
	login = input.Input{Kind: "go", Name: "example.org/login", Version: "v1.2.3", Digest: "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}
)

func testManifest() *manifest.Manifest {
	m := &manifest.Manifest{
		Schema: manifest.Schema, Version: "9999.0.0+nightly-20260102-0304", Arch: "amd64", Epoch: 1700000000,
		Base:    manifest.Base{ID: "trixie", VersionID: "9999.0.0", Systemd: "257", Kernel: "6.12"},
		Recipes: []manifest.Recipe{{Name: "agent", Inputs: []input.Input{agent, glib, unit}}, {Name: "login", Inputs: []input.Input{login}}, {Name: "other", Inputs: []input.Input{glib}}},
	}
	image := func(name string, recipes ...string) {
		i := manifest.Image{Name: name, Platforms: []string{"gce"}, File: name + ".raw", Embedded: "share/" + name + ".raw", SHA256: digest.Of([]byte(name))}
		for _, r := range recipes {
			i.Contents = append(i.Contents, manifest.Content{Path: "/usr/bin/" + r, Recipe: r})
		}
		m.Images = append(m.Images, i)
		m.Add(manifest.File{Name: i.File, SHA256: i.SHA256})
	}
	image("oem-gce", "", "agent", "login")
	image("oem-shared-0123", "agent", "other")
	m.Partition = manifest.Partition{File: "usr.bin", RootHash: digest.Of([]byte("root"))}
	m.Add(manifest.File{Name: "usr.bin", SHA256: digest.Of([]byte("usr"))})
	return m
}

// read reads a document as SPDX's own library does, and checks what the specification says of ids.
func read(t *testing.T, name string, content []byte) *spdx.Document {
	t.Helper()
	d, err := spdxjson.Read(bytes.NewReader(content))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := spdxlib.ValidateDocument(d); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	ids := map[string]bool{}
	for _, p := range d.Packages {
		id := string(p.PackageSPDXIdentifier)
		if ids[id] || !regexp.MustCompile(`^[A-Za-z0-9.-]+$`).MatchString(id) {
			t.Errorf("%s: bad or second id %q", name, id)
		}
		ids[id] = true
	}
	return d
}

func TestDocuments(t *testing.T) {
	m := testManifest()
	documents, err := Documents(m)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for name, content := range documents {
		d := read(t, name, content)
		for _, p := range d.Packages {
			got[name] = append(got[name], p.PackageName)
		}
		slices.Sort(got[name])
	}
	want := map[string][]string{
		"oem-gce.raw.spdx.json":         {"agent", "agent/files/agent.service", "example.org/login", "libglib2.0-0t64", "oem-gce"},
		"oem-shared-0123.raw.spdx.json": {"agent", "agent/files/agent.service", "libglib2.0-0t64", "oem-shared-0123"},
		ReleaseName:                     {"agent", "agent/files/agent.service", "example.org/login", "libglib2.0-0t64", "oem-gce", "oem-shared-0123", "oem-tools", "trixie", "usr.bin"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	again, err := Documents(m)
	if diff := cmp.Diff(documents, again); diff != "" || err != nil {
		t.Errorf("another time it is different: %s, %v", diff, err)
	}
}

func TestInputs(t *testing.T) {
	documents, err := Documents(testManifest())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range read(t, ReleaseName, documents["oem-gce.raw.spdx.json"]).Packages {
		text := p.PackageVersion
		for _, c := range p.PackageChecksums {
			text += fmt.Sprintf(" %s:%.8s", c.Algorithm, c.Value)
		}
		for _, r := range p.PackageExternalReferences {
			text += " " + r.Locator
		}
		got[p.PackageName] = text + p.PackageComment
	}
	want := map[string]string{
		"agent":                     "1:2.0-1+b1 SHA256:" + agent.Digest[7:15] + " pkg:deb/debian/agent@1:2.0-1%2Bb1?arch=amd64",
		"libglib2.0-0t64":           "2.84.4-3 SHA256:" + glib.Digest[7:15] + " pkg:deb/debian/libglib2.0-0t64@2.84.4-3?arch=amd64",
		"agent/files/agent.service": " SHA256:" + unit.Digest[7:15],
		"example.org/login":         "v1.2.3 pkg:golang/example.org/login@v1.2.3module sum " + login.Digest,
		"oem-gce":                   "9999.0.0+nightly-20260102-0304 SHA256:" + digest.Of([]byte("oem-gce")).String()[:8] + "systemd-sysext image for gce",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestWholeChain says that a release names its commit, all packages of base and tools, and what is compiled into programs.
func TestWholeChain(t *testing.T) {
	m := testManifest()
	m.Source = &manifest.Source{Commit: "0123456789012345678901234567890123456789", Dirty: true}
	m.Base.Packages = []manifest.Package{{Kind: "deb", Name: "bash", Version: "5.2-1", Arch: "amd64"}, {Kind: "binpkg", Name: "sys-libs/glibc", Version: "2.40-r1"}}
	m.ToolPackages = []manifest.Package{{Kind: "deb", Name: "squashfs-tools", Version: "1:4.6", Arch: "amd64"}, m.Base.Packages[0]}
	program := digest.Of([]byte("program"))
	m.Images[0].Contents[0].SHA256 = program
	m.Programs = []manifest.Program{
		{Path: "/usr/bin/agent", SHA256: program, Go: "go1.26.8", Modules: []manifest.Module{{Path: "example.org/lib", Version: "v1.0.0", Sum: "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}}},
		{Path: "/usr/bin/absent", SHA256: digest.Of([]byte("absent")), Go: "go1.1"},
	}
	documents, err := Documents(m)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	var got []string
	whole := read(t, ReleaseName, documents[ReleaseName])
	for _, p := range whole.Packages {
		names[string(p.PackageSPDXIdentifier)] = p.PackageName
		for _, r := range p.PackageExternalReferences {
			names[string(p.PackageSPDXIdentifier)] = r.Locator
		}
		if p.PackageName == "oem-sysext" && (p.PackageComment == "" || p.PackageDownloadLocation != "git+https://github.com/flatcar/oem-sysext.git@"+m.Source.Commit) {
			t.Errorf("the source is %+v", p)
		}
	}
	for _, r := range whole.Relationships {
		a, b := names[string(r.RefA.ElementRefID)], names[string(r.RefB.ElementRefID)]
		if line := a + " " + r.Relationship + " " + b; r.Relationship == "BUILD_TOOL_OF" || a == "trixie" || b == "oem-sysext" || a == "oem-gce" && r.Relationship == "CONTAINS" {
			got = append(got, line)
		}
	}
	slices.Sort(got)
	want := []string{
		"oem-gce CONTAINS pkg:golang/example.org/lib@v1.0.0",
		"oem-gce CONTAINS pkg:golang/stdlib@1.26.8",
		"oem-tools GENERATED_FROM oem-sysext",
		"pkg:deb/debian/bash@5.2-1?arch=amd64 BUILD_TOOL_OF oem-tools",
		"pkg:deb/debian/squashfs-tools@1:4.6?arch=amd64 BUILD_TOOL_OF oem-tools",
		"trixie CONTAINS pkg:deb/debian/bash@5.2-1?arch=amd64",
		"trixie CONTAINS pkg:ebuild/sys-libs/glibc@2.40-r1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, p := range read(t, "shared", documents["oem-shared-0123.raw.spdx.json"]).Packages {
		if p.PackageName == "stdlib" {
			t.Error("a program is in an image that does not have it")
		}
	}
}
