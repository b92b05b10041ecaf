package provenance

import (
	"bytes"
	"strings"
	"testing"

	provenancev1 "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

func testManifest() *manifest.Manifest {
	deb := input.Input{Kind: "deb", Name: "agent", Version: "2.0-1", Digest: "sha256:" + digest.Of([]byte("agent")).String()}
	module := input.Input{Kind: "go", Name: "example.org/login", Version: "v1.2.3", Digest: "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}
	return &manifest.Manifest{
		Schema: manifest.Schema, Version: "1.2.3", Arch: "amd64", Epoch: 1700000000, Go: "go1.26", Tools: map[string]string{"erofs-utils": "1.8"},
		Base:    manifest.Base{ID: "trixie", Archive: digest.Of([]byte("archive"))},
		Recipes: []manifest.Recipe{{Name: "agent", Inputs: []input.Input{deb, module}}, {Name: "other", Inputs: []input.Input{deb}}},
		Files:   []manifest.File{{Name: "usr.bin", SHA256: digest.Of([]byte("usr"))}, {Name: "vmlinuz", SHA256: digest.Of([]byte("kernel"))}},
	}
}

// TestStatement has in-toto's own library read and judge a statement.
func TestStatement(t *testing.T) {
	encoded, err := Statement(testManifest())
	if err != nil {
		t.Fatal(err)
	}
	var s intoto.Statement
	if err := protojson.Unmarshal(encoded, &s); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	inner, err := protojson.Marshal(s.GetPredicate())
	if err != nil {
		t.Fatal(err)
	}
	var p provenancev1.Provenance
	if err := protojson.Unmarshal(inner, &p); err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	if s.GetPredicateType() != predicateType || len(s.GetSubject()) != 2 || s.GetSubject()[0].GetDigest()["sha256"] != digest.Of([]byte("usr")).String() {
		t.Errorf("statement is %s", encoded)
	}
	var names []string
	for _, d := range p.GetBuildDefinition().GetResolvedDependencies() {
		if len(d.GetDigest()) != 1 {
			t.Errorf("%s has the digests %v", d.GetName(), d.GetDigest())
		}
		if sum, isModule := d.GetDigest()["dirHash"]; isModule && sum != digest.Of(nil).String() {
			t.Errorf("%s has the sum %s", d.GetName(), sum)
		}
		names = append(names, d.GetName()+" "+d.GetUri())
	}
	if got := strings.Join(names, ", "); got != "trixie , agent pkg:deb/debian/agent@2.0-1?arch=amd64, example.org/login pkg:golang/example.org/login@v1.2.3" {
		t.Errorf("inputs are %s", got)
	}
	if again, err := Statement(testManifest()); err != nil || !bytes.Equal(encoded, again) {
		t.Errorf("another time it is different, %v", err)
	}
}

func TestStatementRefuses(t *testing.T) {
	for _, sum := range []string{"", "md5:00", "h1:?"} {
		m := testManifest()
		m.Recipes[0].Inputs[0].Digest = sum
		if _, err := Statement(m); err == nil || !strings.Contains(err.Error(), "recipe agent, agent: ") {
			t.Errorf("%q: error is %v", sum, err)
		}
	}
}

// TestSource says that a statement names the commit, packages and modules, and that its type is no moving branch.
func TestSource(t *testing.T) {
	m := testManifest()
	m.Source = &manifest.Source{Commit: "0123456789012345678901234567890123456789", Dirty: true}
	m.Base.Packages = []manifest.Package{{Kind: "deb", Name: "bash", Version: "5.2", Arch: "amd64"}, {Kind: "binpkg", Name: "sys-libs/glibc", Version: "2.40"}}
	m.ToolPackages = m.Base.Packages[:1]
	sum := "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	m.Programs = []manifest.Program{{Path: "/usr/bin/login", Modules: []manifest.Module{
		{Path: "example.org/login", Version: "v1.2.3", Sum: sum}, {Path: "example.org/lib", Version: "v1.0.0", Sum: sum}, {Path: "local"},
	}}}
	encoded, err := Statement(m)
	if err != nil {
		t.Fatal(err)
	}
	var s intoto.Statement
	if err := protojson.Unmarshal(encoded, &s); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	inner, err := protojson.Marshal(s.GetPredicate())
	if err != nil {
		t.Fatal(err)
	}
	var p provenancev1.Provenance
	if err := protojson.Unmarshal(inner, &p); err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	var uris []string
	for _, d := range p.GetBuildDefinition().GetResolvedDependencies() {
		uris = append(uris, d.GetUri())
	}
	want := "git+https://github.com/flatcar/oem-sysext.git@0123456789012345678901234567890123456789, , pkg:deb/debian/agent@2.0-1?arch=amd64, " +
		"pkg:golang/example.org/login@v1.2.3, pkg:deb/debian/bash@5.2?arch=amd64, pkg:ebuild/sys-libs/glibc@2.40, pkg:golang/example.org/lib@v1.0.0"
	if got := strings.Join(uris, ", "); got != want {
		t.Errorf("dependencies are %s; wanted %s", got, want)
	}
	if commit := p.GetBuildDefinition().GetResolvedDependencies()[0].GetDigest()["gitCommit"]; commit != m.Source.Commit {
		t.Errorf("the commit is %q", commit)
	}
	if dirty := p.GetBuildDefinition().GetInternalParameters().GetFields()["sourceDirty"].GetStringValue(); dirty != "true" {
		t.Errorf("sourceDirty is %q", dirty)
	}
	if kind := p.GetBuildDefinition().GetBuildType(); strings.Contains(kind, "/main/") || !strings.HasSuffix(kind, "/v1") {
		t.Errorf("the build type is %s", kind)
	}
}
