package lock

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
)

func deb(name string) Pin {
	return Pin{Name: name, Version: "1:2.0~rc1-3", From: "trixie", File: "pool/" + name + ".deb", Size: 7, Digest: OfSHA256(digest.Of([]byte(name)))}
}

func TestRoundTrip(t *testing.T) {
	var l Lock
	l.Set("deb trixie a without b", "trixie", arch.AMD64, []Pin{deb("a"), deb("c")})
	l.Set("deb trixie a without b", "trixie", arch.ARM64, nil)
	l.Set("url https://example.org/x: #1", "", arch.AMD64, []Pin{{Name: "x", Version: "1", File: "https://example.org/x", Digest: "h1:AA="}})
	content, err := l.Encode("tool")
	if err != nil {
		t.Fatal(err)
	}
	want := `# Written by scripts/mage recipe:lock tool. Review it, do not edit it.
sources:
  - source: deb trixie a without b
    base: trixie
    amd64:
      - {name: a, version: '1:2.0~rc1-3', from: trixie, file: pool/a.deb, size: 7, digest: 'sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb'}
      - {name: c, version: '1:2.0~rc1-3', from: trixie, file: pool/c.deb, size: 7, digest: 'sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6'}
    arm64: []
  - source: 'url https://example.org/x: #1'
    amd64:
      - {name: x, version: 1, file: 'https://example.org/x', size: 0, digest: 'h1:AA='}
`
	if diff := cmp.Diff(want, string(content)); diff != "" {
		t.Error(diff)
	}
	read, err := Read(fstest.MapFS{"r/recipe.lock": {Data: content}}, "r/recipe.lock")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&l, read); diff != "" {
		t.Error(diff)
	}
}

// TestRoundTripOfAnyText: what YAML would read as something else is written so that it does not.
func TestRoundTripOfAnyText(t *testing.T) {
	for _, text := range []string{"- a", "a: b", "a #b", "{}", "~", "null", "0x1f", "true", "'", "\"", " a ", "|-", "!!null a", "&a", "é…"} {
		pins := []Pin{{Name: text, Version: text, From: text, File: "a", Digest: "h1:" + Digest(text)}}
		wrote := Lock{Sources: []Source{{Source: text, Base: text, AMD64: pins, ARM64: []Pin{}}}}
		content, err := wrote.Encode("tool")
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		read, err := parse("r.lock", content)
		if err != nil {
			t.Errorf("%q: %v\n%s", text, err, content)
			continue
		}
		if diff := cmp.Diff(&wrote, read); diff != "" {
			t.Errorf("%q: %s\n%s", text, diff, content)
		}
	}
}

// What others chose is not written when it could not be read again.
func TestEncodeRefusesActiveText(t *testing.T) {
	for _, text := range []string{"two\nlines", "ends\n", "\t", "\x1b[2J", "é\u2028", "\u202e"} {
		wrote := Lock{Sources: []Source{{Source: "a", AMD64: []Pin{{Name: "a", Version: text, File: "a", Digest: "h1:AA="}}}}}
		if _, err := wrote.Encode("tool"); err == nil || !strings.Contains(err.Error(), "control characters") {
			t.Errorf("%q: error is %v", text, err)
		}
	}
}

func TestRoundTripOfNothing(t *testing.T) {
	content, err := new(Lock).Encode("tool")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse("r.lock", content); err != nil {
		t.Errorf("%v\n%s", err, content)
	}
}

func TestFind(t *testing.T) {
	var l Lock
	l.Set("q", "trixie", arch.AMD64, []Pin{deb("a")})
	l.Set("q", "trixie", arch.ARM64, nil)
	l.Set("any", "", arch.AMD64, []Pin{deb("b")})
	for _, test := range []struct {
		question, base string
		arch           arch.Arch
		pins           int
		answered       bool
	}{
		{"q", "trixie", arch.AMD64, 1, true},
		{"q", "trixie", arch.ARM64, 0, true}, // the base has it all
		{"q", "forky", arch.AMD64, 0, false},
		{"other", "trixie", arch.AMD64, 0, false},
		{"any", "forky", arch.AMD64, 1, true},
		{"any", "forky", arch.ARM64, 0, false},
	} {
		if pins, answered := l.Find(test.question, test.base, test.arch); len(pins) != test.pins || answered != test.answered {
			t.Errorf("%+v: %v, %v", test, pins, answered)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	pin := func(file, size, digest string) string {
		return "sources:\n  - source: q\n    amd64:\n      - {name: a, version: 1, file: '" + file + "', size: " + size + ", digest: '" + digest + "'}\n"
	}
	for content, says := range map[string]string{
		"sources: []\nextra: 1\n":             `r.lock:2: unknown key "extra"`,
		pin("a", "-1", "h1:x"):                `r.lock:4: size "-1"`,
		pin("a", "1", "md5:x"):                `r.lock:4: digest "md5:x"`,
		pin("a", "1", "sha256:x"):             "r.lock:4:",
		pin("../a", "1", "h1:x"):              "neither an address nor a path",
		pin("/etc/passwd", "1", "h1:x"):       "neither an address nor a path",
		pin("file:///etc/passwd", "1", "h1:"): "neither an address nor a path",
	} {
		if _, err := Read(fstest.MapFS{"r.lock": {Data: []byte(content)}}, "r.lock"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error is %v", content, err)
		}
	}
	if l, err := Read(fstest.MapFS{}, "r.lock"); err != nil || len(l.Sources) > 0 {
		t.Errorf("no file: %v, %v", l, err)
	}
}

func FuzzParse(f *testing.F) {
	var l Lock
	l.Set("q", "trixie", arch.AMD64, []Pin{deb("a")})
	seed, err := l.Encode("tool")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, content []byte) {
		first, err := parse("r.lock", content)
		if err != nil {
			return
		}
		encoded, err := first.Encode("tool")
		if err != nil {
			t.Fatal(err)
		}
		second, err := parse("r.lock", encoded)
		if err != nil {
			t.Fatalf("cannot read what it wrote: %v\n%s", err, encoded)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("reads something else than it wrote: %s\n%s", diff, encoded)
		}
	})
}
