package debian

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadStanzas(t *testing.T) {
	got, err := ReadCommented(strings.NewReader(`
# a comment
Package: a
Description: short
 long
 .
# a comment within
 more
SHA256:
 abc 1 x
	def 2 y

 ` + `
Package: b
Empty:
Url: http://example.org/`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Stanza{
		{"package": "a", "description": "short\n long\n .\n more", "sha256": "abc 1 x\n\tdef 2 y"},
		{"package": "b", "empty": "", "url": "http://example.org/"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("wanted (-), got (+):\n%s", diff)
	}
}

func TestReadStanzasRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"Package: a\nno colon\n":             `"no colon\n" is not a field`,
		" begins with a space: x\n":          "is not a field",
		"two words: x\n":                     "is not a field",
		": x\n":                              "is not a field",
		"-A: 1\n":                            "begins with a hyphen",
		"A: 1\n# 2\n":                        "line 2 is a comment",
		"A: 1\r\n":                           "carriage return",
		"A: \x00\n":                          "zero byte",
		"A: 1\na: 2\n":                       "occurs twice",
		"A: " + strings.Repeat("x", maxLine): "line 1 is longer than 1048576 bytes",
		strings.Repeat("A: "+strings.Repeat("x", 1<<19)+"\n", 40): "the stanza is longer than 16777216 bytes",
	} {
		if _, err := ReadStanzas(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.40q: error is %v; wanted %q", text, err, says)
		}
	}
}

func FuzzStanzas(f *testing.F) {
	f.Add("Package: a\nDepends: b,\n c\n\nPackage: d\n")
	f.Add("#\n\n \n:")
	f.Fuzz(func(t *testing.T, text string) {
		for reader := newStanzaReader(strings.NewReader(text)); ; {
			one, err := reader.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
			if strings.TrimSpace(one) == "" {
				t.Fatalf("%q has the empty stanza %q", text, one)
			}
			if _, err := parseStanza(one); err != nil {
				return
			}
		}
		if _, err := ReadStanzas(strings.NewReader(text)); err != nil {
			t.Errorf("one by one it was accepted: %v", err)
		}
	})
}
