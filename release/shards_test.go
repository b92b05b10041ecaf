package release

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/arch"
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
	o := Options{Checkout: "..", Arch: arch.AMD64}
	file := filepath.Join(t.TempDir(), "output")
	var out bytes.Buffer
	if err := Matrix(o, 3, file, &out); err != nil {
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
		if err := json.Unmarshal([]byte(list), &jobs); err != nil || len(jobs) != 3 {
			t.Fatalf("%s has %d jobs, %v", name, len(jobs), err)
		}
		for i, j := range jobs {
			if j.Part != fmt.Sprintf("%d/3", i+1) || j.Arch != arch.AMD64 {
				t.Errorf("%s has %+v", name, j)
			}
			for what := range strings.SplitSeq(j.What, ", ") {
				seen[name+" "+what]++
			}
		}
	}
	for _, want := range []string{"build chrony", "build ecr-credential-helper", "prove azure", "prove qemu"} {
		if seen[want] != 1 {
			t.Errorf("%s is in %d jobs", want, seen[want])
		}
	}
	if err := Matrix(o, 0, "", io.Discard); err == nil {
		t.Error("makes no parts")
	}
	if err := Shard(t.Context(), o, Part{1, 1}, io.Discard); err == nil || !strings.Contains(err.Error(), "REMOTE_CACHE_WRITE") {
		t.Errorf("error is %v", err)
	}
}
