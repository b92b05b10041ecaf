package oem

import (
	"os"
	"strings"
	"testing"
)

func TestRecipe(t *testing.T) {
	if r, err := Recipe(os.DirFS(".."), "chrony"); err != nil || r.Name.Value != "chrony" {
		t.Errorf("recipe is %v, %v", r, err)
	}
	if _, err := Recipe(os.DirFS(".."), "chorny"); err == nil || !strings.Contains(err.Error(), "chrony, chrony-ec2") {
		t.Errorf("error is %v", err)
	}
}
