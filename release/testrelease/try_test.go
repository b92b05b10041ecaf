package testrelease

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/release/care"
)

// TestTry builds a recipe, checks it, and runs its commands in the merged system.
func TestTry(t *testing.T) {
	Needs(t)
	o := Fresh(t)
	o.Checkout = SmallCheckout(t)
	file := filepath.Join(o.Checkout, "recipes/tool/recipe.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for works, want := range map[string]string{
		"works: [{run: head -c 9 /usr/bin/tool, says: '#!/bin/sh'}]\n":                                  "",
		"works:\n  - run: true\n  - {run: echo x, says: x}\n  - {run: cat /etc/hostname-of-the-host}\n": "recipes/tool/recipe.yaml:12: works: \"cat /etc/hostname-of-the-host\" does not work in the merged system: it ends with status 1",
		"requires: [/usr/bin/gone]\n": "requires /usr/bin/gone",
	} {
		if err := os.WriteFile(file, append(content, works...), 0o600); err != nil {
			t.Fatal(err)
		}
		tried, err := care.Try(t.Context(), o, "tool")
		switch {
		case want != "":
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error is %v; wanted %q", works, err, want)
			}
		case err != nil:
			t.Error(err)
		case !tried.Ran || len(tried.Works) != 1 || tried.Own == nil || strings.Join(tried.Platforms, " ") != "vagrant":
			t.Errorf("tried %+v", tried)
		}
	}
	if _, err := care.Try(t.Context(), o, "tol"); err == nil || !strings.Contains(err.Error(), `did you mean "tool"?`) {
		t.Errorf("a recipe that is not there: %v", err)
	}
}
