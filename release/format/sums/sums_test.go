package sums

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

func TestParse(t *testing.T) {
	sum := strings.Repeat("0", 64)
	for name, test := range map[string]struct{ content, says string }{
		"good":       {sum + "  a\n" + sum + "  b.raw\n", ""},
		"cut":        {sum + "  a\n" + sum + "  b.r", "is truncated: no line break"},
		"binary":     {sum + " *a\n", "SHA256SUMS:1: wanted 64"},
		"elsewhere":  {sum + "  ../a\n", "SHA256SUMS:1: wanted 64"},
		"parent":     {sum + "  ..\n", "SHA256SUMS:1"},
		"itself":     {sum + "  SHA256SUMS\n", "SHA256SUMS:1"},
		"twice":      {sum + "  a\n" + sum + "  a\n", "SHA256SUMS:2: duplicate name a"},
		"few digits": {sum[1:] + "  a\n", "SHA256SUMS:1: "},
		"control":    {sum + "  a\x1b[2J\n", "SHA256SUMS:1"},
		"no digits":  {strings.Repeat("x", 64) + "  a\n", "SHA256SUMS:1: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(test.content))
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	sum := strings.Repeat("0a", 32)
	for _, seed := range []string{"", "\n", sum + "  a\n", sum + "  a\n" + sum + "  b\n", sum + " *a\n", sum + "  ../../etc/passwd\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		sums, err := Parse(content)
		if err != nil {
			return
		}
		lines := 0
		for name, sum := range sums {
			lines++
			if !strings.Contains(strings.ToLower(string(content)), fmt.Sprintf("%v  %s\n", sum, strings.ToLower(name))) {
				t.Errorf("%q is not in the file", name)
			}
			if filepath.Base(name) != name || name == FileName {
				t.Errorf("%q leads elsewhere", name)
			}
		}
		if lines != bytes.Count(content, []byte("\n")) {
			t.Errorf("%d files of %d lines", lines, bytes.Count(content, []byte("\n")))
		}
	})
}

// What is written is read as what it was, and is in the order of names.
func TestFormat(t *testing.T) {
	all := map[string]digest.SHA256{"b.raw": digest.Of([]byte("b")), "a": digest.Of([]byte("a"))}
	written := Format(all)
	want := digest.Of([]byte("a")).String() + "  a\n" + digest.Of([]byte("b")).String() + "  b.raw\n"
	if diff := cmp.Diff(want, string(written)); diff != "" {
		t.Error(diff)
	}
	read, err := Parse(written)
	if diff := cmp.Diff(all, read); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if got := Format(nil); len(got) != 0 {
		t.Errorf("of nothing: %q", got)
	}
}

func TestFind(t *testing.T) {
	sum, other := digest.Of([]byte("a")), digest.Of([]byte("b"))
	for name, test := range map[string]struct{ list, says string }{
		"text":        {fmt.Sprintf("%v  b\n%v  a\n", other, sum), ""},
		"binary":      {fmt.Sprintf("%v *a\n", sum), ""},
		"no end":      {fmt.Sprintf("%v  a", sum), ""},
		"other lines": {fmt.Sprintf("# sums\n\n%v  a\nSHA512 (a) = 00\n", sum), ""},
		"said twice":  {fmt.Sprintf("%v  a\n%v *a\n", sum, sum), ""},
		"two":         {fmt.Sprintf("%v  a\n%v  a\n", sum, other), "two different sums of a"},
		"none":        {fmt.Sprintf("%v  aa\n", sum), "no sum of a"},
		"empty":       {"", "no sum of a"},
		"no digest":   {"1234  a\n", "1234"},
		"endless":     {strings.Repeat("a", 100_000), "token too long"},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := Find(strings.NewReader(test.list), "a")
			if test.says == "" && (err != nil || found != sum) {
				t.Errorf("found %v, %v; wanted %v", found, err, sum)
			}
			if test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("error is %v; wanted %q", err, test.says)
			}
		})
	}
}
