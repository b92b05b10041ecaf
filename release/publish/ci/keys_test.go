package ci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/release/setup"
)

func TestKeys(t *testing.T) {
	temp := t.TempDir()
	set := filepath.Join(temp, "env")
	environment := map[string]string{"RUNNER_TEMP": temp, "GITHUB_ENV": set, "SIGNING_KEY_TEXT": "secret\nkey\n", "UPDATE_KEY_TEXT": ""}
	chosen := func() setup.Options {
		var environ []string
		for name, value := range environment {
			environ = append(environ, name+"="+value)
		}
		return options(t, environ...)
	}
	for range 2 {
		if err := WriteKeys(chosen()); err != nil {
			t.Fatal(err)
		}
	}
	told, err := os.ReadFile(set)
	if err != nil || strings.Contains(string(told), "secret") || strings.Contains(string(told), "UPDATE_KEY") {
		t.Fatalf("tells %q, %v", told, err)
	}
	_, path, _ := strings.Cut(strings.SplitN(string(told), "\n", 2)[0], "SIGNING_KEY=")
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("%s is %v, %v", path, info, err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "secret\nkey\n" {
		t.Errorf("has %q, %v", content, err)
	}
	if err := RemoveKeys(chosen()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !os.IsNotExist(err) {
		t.Errorf("is left: %v", err)
	}
	for _, name := range []string{"RUNNER_TEMP", "GITHUB_ENV"} {
		delete(environment, name)
		if err := WriteKeys(chosen()); err == nil || !strings.Contains(err.Error(), name) && name != "GITHUB_ENV" {
			t.Errorf("without %s: %v", name, err)
		}
	}
}
