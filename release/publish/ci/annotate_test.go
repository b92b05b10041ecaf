package ci

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/release/testrelease"
)

// TestAnnotate looks for a mistake in a recipe, and for what its words could do to the runner.
func TestAnnotate(t *testing.T) {
	o := options(t)
	o.Checkout = testrelease.SmallCheckout(t)
	var out bytes.Buffer
	if err := Annotate(o, &out); err != nil || out.Len() > 0 {
		t.Fatalf("what is right is marked: %v, %s", err, &out)
	}
	file := filepath.Join(o.Checkout, "recipes/tool/recipe.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(content, "\"a%0A::add-mask::x\": 1\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Annotate(o, &out); err == nil {
		t.Error("a mistake is no error")
	}
	const want = "::error file=recipes/tool/recipe.yaml,line=9::"
	if got := out.String(); !strings.HasPrefix(got, want) || strings.Count(got, "\n") != strings.Count(got, "::error ") || strings.Contains(got, "a%0A") {
		t.Errorf("wrote %q; wanted lines that begin with %q", got, want)
	}
	if got := property("a:b,c%\n"); got != "a%3Ab%2Cc%25%0A" {
		t.Errorf("a property is %q", got)
	}
}
