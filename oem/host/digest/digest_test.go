package digest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParseRoundTrip(t *testing.T) {
	parsed, err := Parse(strings.ToUpper(emptySHA256))
	if err != nil || parsed.String() != emptySHA256 || parsed != Of(nil) {
		t.Fatalf("Parse gave %v, %v", parsed, err)
	}
	encoded, err := json.Marshal(map[string]SHA256{"d": parsed})
	if err != nil || string(encoded) != `{"d":"`+emptySHA256+`"}` {
		t.Fatalf("JSON is %s, %v", encoded, err)
	}
	var back map[string]SHA256
	if err := json.Unmarshal(encoded, &back); err != nil || back["d"] != parsed {
		t.Fatalf("read back %v, %v", back, err)
	}
	for _, bad := range []string{"", "ab", strings.Repeat("g", 64), emptySHA256 + "00"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("Parse(%q) accepted it", bad)
		}
	}
}

func TestOfFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, n, err := OfFile(path)
	if err != nil || n != 3 || d != Of([]byte("abc")) {
		t.Fatalf("got %v, %d, %v", d, n, err)
	}
}

func TestOfInputsTellsBoundariesApart(t *testing.T) {
	a, _ := OfInputs([]string{"ab", "c"})
	b, _ := OfInputs([]string{"a", "bc"})
	if a == b {
		t.Error("different inputs have one key")
	}
}
