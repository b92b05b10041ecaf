package near

import "testing"

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "ab", 2}, {"needs", "needs", 0}, {"need", "needs", 1}, {"neeeds", "needs", 1}, {"nedes", "needs", 1},
		{"naeds", "needs", 1}, {"abcd", "dcba", 3}, {".yaml", ".yml", 1},
	} {
		if got, back := Distance(c.a, c.b), Distance(c.b, c.a); got != c.want || back != c.want {
			t.Errorf("%q and %q: %d and %d; wanted %d", c.a, c.b, got, back, c.want)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"needs", "requires", "replaces", "unless"}
	for word, want := range map[string]string{
		"nedes": "needs", "require": "requires", "replacess": "replaces", "x": "", "unlesss": "unless", "completely": "", "": "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%q: %q; wanted %q", word, got, want)
		}
	}
	if got, want := Wanted("nedes", known[:2]), `did you mean "needs"? Wanted is one of needs, requires`; got != want {
		t.Errorf("%s; wanted %s", got, want)
	}
	if got, want := Wanted("x", known[:2]), "wanted one of needs, requires"; got != want {
		t.Errorf("%s; wanted %s", got, want)
	}
}
