// Package provenance states how a release was built, as an in-toto statement with SLSA's predicate
// (https://slsa.dev/spec/v1.0/provenance): every file of the release and every input, by digest.
//
// In: a manifest. Out: JSON, the same for the same manifest, so without time and place of the build.
// It is as trustworthy as the signature of SHA256SUMS, which covers it.
package provenance

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/source/purl"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// Name is the name of the file in a release.
const Name = "provenance.intoto.json"

const (
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://slsa.dev/provenance/v1"
	project       = "https://github.com/flatcar/oem-sysext"

	// buildType says what the parameters mean (release/README.md, "Provenance"). Another meaning gets another number.
	buildType = project + "/buildtypes/release/v1"
)

type statement struct {
	Type          string     `json:"_type"`
	Subject       []resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     predicate  `json:"predicate"`
}

type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

type predicate struct {
	Definition definition `json:"buildDefinition"`
	Run        run        `json:"runDetails"`
}

type definition struct {
	Type         string            `json:"buildType"`
	External     map[string]string `json:"externalParameters"`
	Internal     map[string]string `json:"internalParameters"`
	Dependencies []resource        `json:"resolvedDependencies"`
}

type run struct {
	Builder builder `json:"builder"`
}

type builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version"`
}

// Statement returns the statement about a release.
func Statement(m *manifest.Manifest) ([]byte, error) {
	dependencies, err := inputs(m)
	if err != nil {
		return nil, err
	}
	s := statement{
		Type: statementType, PredicateType: predicateType,
		Predicate: predicate{
			Definition: definition{
				Type: buildType,
				External: map[string]string{
					"version": m.Version, "arch": m.Arch, "base": m.Base.ID, "profile": m.Plan.Profile,
					"epoch": time.Unix(m.Epoch, 0).UTC().Format(time.RFC3339),
				},
				Internal:     map[string]string{"baseVersion": m.Base.VersionID, "systemd": m.Base.Systemd, "kernel": m.Base.Kernel},
				Dependencies: dependencies,
			},
			Run: run{builder{project, versions(m)}},
		},
	}
	if m.Source != nil && m.Source.Dirty {
		s.Predicate.Definition.Internal["sourceDirty"] = "true"
	}
	for _, f := range m.Files {
		s.Subject = append(s.Subject, resource{Name: f.Name, Digest: map[string]string{"sha256": f.SHA256.String()}})
	}
	encoded, err := json.MarshalIndent(s, "", "  ")
	return append(encoded, '\n'), err
}

func versions(m *manifest.Manifest) map[string]string {
	all := map[string]string{"go": m.Go}
	for name, version := range m.Tools {
		all[name] = version
	}
	return all
}

// inputs returns the commit, the base, what updates from earlier releases were made from, and all inputs of recipes, without duplicates.
func inputs(m *manifest.Manifest) ([]resource, error) {
	base := resource{Name: m.Base.ID, Digest: map[string]string{"sha256": m.Base.Usr.String()}}
	switch {
	case !m.Base.Source.IsZero():
		base.Digest["sha256"] = m.Base.Source.String()
	case !m.Base.Archive.IsZero():
		base.Digest["sha256"] = m.Base.Archive.String()
	}
	var list []resource
	if m.Source != nil {
		list = append(list, resource{URI: "git+" + project + ".git@" + m.Source.Commit, Digest: map[string]string{"gitCommit": m.Source.Commit}})
	}
	list = append(list, base)
	for _, d := range m.Deltas {
		list = append(list,
			resource{Name: manifest.PartitionFile + " of " + d.From, Digest: map[string]string{"sha256": d.Image.SHA256.String()}},
			resource{Name: manifest.KernelFile + " of " + d.From, Digest: map[string]string{"sha256": d.Kernel.SHA256.String()}})
	}
	var seen []input.Input
	for _, r := range m.Recipes {
		for _, i := range r.Inputs {
			if slices.Contains(seen, i) {
				continue
			}
			seen = append(seen, i)
			sum, err := digestSet(i.Digest)
			if err != nil {
				return nil, fmt.Errorf("recipe %s, %s: %w", r.Name, i.Name, err)
			}
			list = append(list, resource{Name: i.Name, URI: purl.Of(i, m.Arch), Digest: sum})
		}
	}
	list = append(list, packages(m)...)
	compiled, err := modules(m.Programs, seen)
	return append(list, compiled...), err
}

// packages returns what the base and the tool root consist of. Their digests are those of the archive's index, which the base names.
func packages(m *manifest.Manifest) (list []resource) {
	seen := map[manifest.Package]bool{}
	for _, p := range slices.Concat(m.Base.Packages, m.ToolPackages) {
		if !seen[p] {
			seen[p] = true
			list = append(list, resource{Name: p.Name, URI: purl.Of(input.Input{Kind: p.Kind, Name: p.Name, Version: p.Version}, p.Arch)})
		}
	}
	return list
}

// modules returns those that were compiled into programs and are not among inputs.
func modules(programs []manifest.Program, inputs []input.Input) (list []resource, err error) {
	for _, p := range programs {
		for _, m := range p.Modules {
			in := input.Input{Kind: "go", Name: m.Path, Version: m.Version, Digest: m.Sum}
			if m.Sum == "" || slices.Contains(inputs, in) {
				continue
			}
			inputs = append(inputs, in)
			sum, err := digestSet(m.Sum)
			if err != nil {
				return nil, fmt.Errorf("%s, module %s: %w", p.Path, m.Path, err)
			}
			list = append(list, resource{Name: m.Path, URI: purl.Of(in, ""), Digest: sum})
		}
	}
	return list, nil
}

// digestSet encodes a digest for a statement: in hexadecimal, module checksums too
// (github.com/in-toto/attestation, spec/v1/digest_set.md, dirHash).
func digestSet(text string) (map[string]string, error) {
	if sum, isSHA256 := strings.CutPrefix(text, "sha256:"); isSHA256 {
		return map[string]string{"sha256": sum}, nil
	}
	sum, isModule := strings.CutPrefix(text, "h1:")
	decoded, err := base64.StdEncoding.DecodeString(sum)
	if !isModule || err != nil {
		return nil, fmt.Errorf("%q is not a digest; wanted sha256:… or h1:…", text)
	}
	return map[string]string{"dirHash": hex.EncodeToString(decoded)}, nil
}
