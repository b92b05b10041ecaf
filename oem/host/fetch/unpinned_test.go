package fetch

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

func TestLearn(t *testing.T) {
	for name, handlers := range map[string][]http.HandlerFunc{
		"at once":               {serve(content)},
		"after a server error":  {status(503), serve(content)},
		"after a cut, from new": {cutAt([]byte(strings.Repeat("x", 100_000)), 70_000), serve(content)},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newStore(t)
			address, requests := server(t, handlers...)
			seen, err := s.Learn(t.Context(), Unpinned{URLs: []string{address + "/gone", address}, Size: size.Bytes(len(content))})
			if err != nil {
				t.Fatal(err)
			}
			if seen.SHA256 != digest.Of(content) || seen.Size != size.Bytes(len(content)) {
				t.Errorf("learned %v", seen)
			}
			before := requests.Load()
			path, err := s.File(t.Context(), Want{URLs: []string{address}, SHA256: seen.SHA256, Size: seen.Size})
			if err != nil || path != seen.Path || requests.Load() != before {
				t.Errorf("asked again for what is in the store: %s, %v", path, err)
			}
		})
	}
}

// TestLearnGoesOn cuts a download of something that has a key, in one run and between two.
func TestLearnGoesOn(t *testing.T) {
	proven := func(path string) error {
		if got, _, err := digest.OfFile(path); err != nil || got != digest.Of(content) {
			return errors.New("the signature is wrong")
		}
		return nil
	}
	half := append(bytes.Clone(content[:70_000]), bytes.Repeat([]byte("x"), 30_000)...)
	wrongHalf := bytes.Repeat([]byte("x"), len(content))
	for name, runs := range map[string][][]http.HandlerFunc{
		"in one run":                  {{cutAt(content, 70_000), needsRange(t, 70_000, ranges(content))}},
		"between two":                 {{cutAt(content, 70_000), status(404)}, {needsRange(t, 70_000, ranges(content))}},
		"without ranges":              {{cutAt(content, 70_000), needsRange(t, 70_000, serve(content))}},
		"the file was replaced":       {{cutAt(wrongHalf, 70_000), needsRange(t, 70_000, ranges(content)), needsRange(t, 0, ranges(content))}},
		"complete and wrong, and new": {{serve(half)}, {needsRange(t, 0, serve(content))}},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newStore(t)
			want := Unpinned{Key: digest.Of([]byte("its signature")), Also: proven}
			for i, handlers := range runs {
				address, _ := server(t, handlers...)
				want.URLs = []string{address}
				seen, err := s.Learn(t.Context(), want)
				if i < len(runs)-1 {
					if err == nil {
						t.Fatal("the first run went well")
					}
					continue
				}
				checkStored(t, s, seen.Path, err)
			}
		})
	}
}

func TestLearnRefuses(t *testing.T) {
	unhappy := errors.New("unhappy")
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    Unpinned
		says    string
	}{
		"missing":   {status(404), Unpinned{}, "no such file there"},
		"broken":    {status(500), Unpinned{}, "HTTP status 500"},
		"cut":       {cutAt(content, 70_000), Unpinned{}, "the transfer was interrupted"},
		"too long":  {serve(content), Unpinned{Max: 99_999}, "more than 97.7 KiB"},
		"longer":    {serve(content), Unpinned{Size: 99_999}, "wanted 99999"},
		"shorter":   {serve(content), Unpinned{Size: 100_001}, "wanted 100001"},
		"unwelcome": {serve(content), Unpinned{Also: func(string) error { return unhappy }}, "unhappy"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newStore(t)
			address, _ := server(t, test.handler)
			test.want.URLs = []string{strings.Replace(address, "//", "//user:hunter2@", 1) + "?token=hunter2"}
			seen, err := s.Learn(t.Context(), test.want)
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error is %v", err)
			}
			if diff := cmp.Diff(Seen{}, seen); diff != "" {
				t.Error(diff)
			}
			for _, dir := range []string{"sha256", "partial"} {
				if left, _ := os.ReadDir(s.dir + "/" + dir); len(left) > 0 {
					t.Errorf("left in the store: %v", left)
				}
			}
		})
	}
}
