package publish

import (
	"bytes"
	"io"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/release/publish/github/githubtest"
)

const night = "9999.0.0+nightly-202601"

// nights puts nightlies and others on a server.
func nights(t *testing.T) *githubtest.Server {
	s := githubtest.New(t)
	s.PageSize = 3
	for _, r := range []githubtest.Release{
		{Tag: night + "05-0100-amd64", Prerelease: true}, // not in the order of their times
		{Tag: night + "02-0100-amd64", Prerelease: true},
		{Tag: night + "04-0100-amd64", Prerelease: true},
		{Tag: night + "03-0100-amd64", Prerelease: true},
		{Tag: night + "03-0100-arm64", Prerelease: true},
		{Tag: night + "01-0100-amd64"},                                  // somebody made a release of it
		{Tag: night + "06-0100-amd64", Prerelease: true, Draft: true},   // is being made
		{Tag: night + "04-0200-amd64", Prerelease: true, Draft: true},   // its run died
		{Tag: "9999.0.0-amd64", Prerelease: true},                       // a preview
		{Tag: "4593.2.1-amd64"},                                         // a release
		{Tag: night + "02-0100-riscv", Prerelease: true},                // not ours
		{Tag: night + "02-0100", Prerelease: true},                      //
		{Tag: "x" + night + "02-0100-amd64", Prerelease: true},          //
		{Tag: "9999.0.0+nightly-20269901-0100-amd64", Prerelease: true}, // no date
	} {
		s.Add(r)
	}
	return s
}

func tagsOf(s *githubtest.Server) (tags []string) {
	for _, r := range s.Releases() {
		tags = append(tags, r.Tag)
	}
	return tags
}

func TestPrune(t *testing.T) {
	s := nights(t)
	before := tagsOf(s)
	var out bytes.Buffer
	if err := publisher(t, s, io.Discard).Prune(t.Context(), 2, false, &out); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(before, tagsOf(s)); diff != "" {
		t.Errorf("a dry run changes %s", diff)
	}
	want := `nothing is removed without PRUNE=1
keep    9999.0.0+nightly-20260106-0100-amd64
keep    9999.0.0+nightly-20260105-0100-amd64
remove  9999.0.0+nightly-20260104-0200-amd64
keep    9999.0.0+nightly-20260104-0100-amd64
remove  9999.0.0+nightly-20260103-0100-amd64
remove  9999.0.0+nightly-20260102-0100-amd64
keep    9999.0.0+nightly-20260103-0100-arm64
7 of 14 releases are nightlies
`
	if diff := gocmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if err := publisher(t, s, io.Discard).Prune(t.Context(), 2, true, &out); err != nil {
		t.Fatal(err)
	}
	left := []string{
		night + "05-0100-amd64", night + "04-0100-amd64", night + "03-0100-arm64", night + "01-0100-amd64", night + "06-0100-amd64",
		"9999.0.0-amd64", "4593.2.1-amd64", night + "02-0100-riscv", night + "02-0100", "x" + night + "02-0100-amd64",
		"9999.0.0+nightly-20269901-0100-amd64",
	}
	if diff := gocmp.Diff(left, tagsOf(s)); diff != "" {
		t.Error(diff)
	}
	for _, tag := range s.Tags() {
		if tag == night+"02-0100-amd64" || tag == night+"03-0100-amd64" {
			t.Errorf("the tag %s is left", tag)
		}
	}
	for _, keep := range []int{0, -1} {
		if err := publisher(t, s, io.Discard).Prune(t.Context(), keep, true, io.Discard); err == nil {
			t.Errorf("keeps %d", keep)
		}
	}
}

func TestPruneGoesOn(t *testing.T) {
	for seed := range uint64(20) {
		s := nights(t)
		s.Faults = githubtest.NewFaults(seed, 0.3, time.Millisecond)
		for run := 1; ; run++ {
			err := publisher(t, s, io.Discard).Prune(t.Context(), 1, true, io.Discard)
			if err == nil {
				break
			}
			if run == 100 {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if got := len(s.Releases()); got != 10 {
			t.Fatalf("seed %d: %d releases are left: %q", seed, got, tagsOf(s))
		}
		if got := len(s.Tags()); got != 9 {
			t.Fatalf("seed %d: %d tags are left: %q", seed, got, s.Tags())
		}
	}
}
