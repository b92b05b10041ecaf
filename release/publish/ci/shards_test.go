package ci

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sums"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

func TestParsePart(t *testing.T) {
	for text, want := range map[string]Part{"1/1": {1, 1}, "2/4": {2, 4}, "": {}, "0/4": {}, "5/4": {}, "1": {}, "a/b": {}, "1/2/3": {}, "-1/2": {}} {
		got, err := ParsePart(text)
		if got != want || (err == nil) != (want != Part{}) {
			t.Errorf("%q is %v, %v; wanted %v", text, got, err, want)
		}
	}
}

func TestPartsAreWhole(t *testing.T) {
	all := []string{"a", "b", "c", "d", "e"}
	for n := 1; n <= 8; n++ {
		var together []string
		for i := range n {
			part := share(Part{i + 1, n}, all)
			if len(part) > (len(all)+n-1)/n {
				t.Errorf("part %d of %d has %q", i+1, n, part)
			}
			together = append(together, part...)
		}
		if slices.Sort(together); !slices.Equal(together, all) {
			t.Errorf("%d parts have %q", n, together)
		}
	}
}

func TestMatrix(t *testing.T) {
	file := filepath.Join(t.TempDir(), "output")
	o := options(t, "ARCH=amd64", "SHARDS=3", "GITHUB_OUTPUT="+file)
	var out bytes.Buffer
	if err := Matrix(o, &out); err != nil {
		t.Fatal(err)
	}
	set, err := os.ReadFile(file)
	if err != nil || string(set) != out.String() {
		t.Errorf("set %q, printed %q, %v", set, &out, err)
	}
	seen := map[string]int{}
	for line := range strings.Lines(out.String()) {
		name, list, _ := strings.Cut(line, "=")
		var jobs []job
		if err := json.Unmarshal([]byte(list), &jobs); err != nil {
			t.Fatal(err)
		}
		var parts []string
		for _, j := range jobs {
			parts = append(parts, string(j.Arch)+" "+j.Part)
			for what := range strings.SplitSeq(j.What, ", ") {
				seen[name+" "+string(j.Arch)+" "+what]++
			}
		}
		want := map[string][]string{
			"build":  {"amd64 1/3", "amd64 2/3", "amd64 3/3", "arm64 1/3", "arm64 2/3", "arm64 3/3"},
			"images": {"arm64 1/1"},
			"prove":  {"amd64 1/3", "amd64 2/3", "amd64 3/3"},
		}
		if diff := cmp.Diff(want[name], parts); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for want, n := range map[string]int{
		"build amd64 chrony": 1, "build arm64 chrony": 1, "build amd64 open-vm-tools": 1, "build arm64 open-vm-tools": 0,
		"images arm64 azure": 1, "images arm64 vmware": 0, "prove amd64 azure": 1, "prove amd64 vmware": 1,
	} {
		if seen[want] != n {
			t.Errorf("%s is in %d jobs", want, seen[want])
		}
	}
	if _, err := setup.Read("../../..", []string{"SHARDS=0"}); err == nil {
		t.Error("makes no parts")
	}
	if err := Shard(t.Context(), o, Part{1, 1}, io.Discard); err == nil || !strings.Contains(err.Error(), "REMOTE_CACHE_WRITE") {
		t.Errorf("error is %v", err)
	}
}

// TestWholeProofs adds the proof of another job to a release, and refuses what is none.
func TestWholeProofs(t *testing.T) {
	o := options(t, "OUTPUT="+t.TempDir(), "VERSION=1.2.3")
	if err := errors.Join(os.MkdirAll(o.Dir(), 0o755), os.MkdirAll(filepath.Join(o.Output, proofsDir), 0o755)); err != nil {
		t.Fatal(err)
	}
	page, sum := `<section id="proofs"></section>`, strings.Repeat("0", 64)+"  "+manifest.ReportFile+"\n"
	fleet := filepath.Join(o.Output, proofsDir, verify.FleetProofName)
	for name, content := range map[string]string{
		filepath.Join(o.Dir(), manifest.ReportFile): page, filepath.Join(o.Dir(), sums.FileName): sum,
		fleet: `{"schema": 1, "machines": [{"platform": "azure"}]}`,
	} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := addWholeProofs(o); err != nil {
		t.Fatal(err)
	}
	listed, err := os.ReadFile(filepath.Join(o.Dir(), sums.FileName))
	reported, errReport := os.ReadFile(filepath.Join(o.Dir(), manifest.ReportFile))
	if errors.Join(err, errReport) != nil || !strings.Contains(string(listed), verify.FleetProofName) || !strings.Contains(string(reported), "machines that exist") {
		t.Errorf("sums are %s, the report %s", listed, reported)
	}
	if err := os.WriteFile(fleet, []byte("no proof"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := addWholeProofs(o); err == nil || !strings.Contains(err.Error(), fleet) {
		t.Errorf("error is %v", err)
	}
}
