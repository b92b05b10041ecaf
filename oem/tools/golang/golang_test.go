package golang

import (
	"strings"
	"testing"
)

func TestSecretsOfTheHostStayOut(t *testing.T) {
	t.Setenv("GITHUB_TOKEN", "hunter2")
	toolchain, err := Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.Join(toolchain.env, " "), "hunter2") {
		t.Error("the environment of builds has a token")
	}
}
