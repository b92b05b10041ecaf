package sandbox

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

// openOutside is how many ways must be open without a sandbox, so that it is the sandbox that closes them.
// The others need what this kernel or machine may lack.
const openOutside = 25

// TestEscapes tries each way out of testdata/escape in the sandbox, where all are closed, and outside of it.
func TestEscapes(t *testing.T) {
	needs.Programs(t, "go")
	dir := t.TempDir()
	program := filepath.Join(dir, "escape")
	if err := run.Run(t.Context(), run.Cmd{
		Program: "go", Args: []string{"build", "-o", program, "./testdata/escape"}, Env: append(os.Environ(), "CGO_ENABLED=0"),
	}); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	abstract := "@escape" + filepath.Base(filepath.Dir(dir))
	listener, err := net.Listen("unix", abstract)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	argument := func(way string) string {
		if strings.Contains(way, "socket") {
			return abstract
		}
		return secret
	}
	list, err := run.Output(t.Context(), run.Cmd{Program: program})
	if err != nil {
		t.Fatal(err)
	}
	ways := strings.Split(strings.TrimSpace(string(list)), "\n")
	var inside strings.Builder
	for _, way := range ways {
		inside.WriteString(`if ./escape "` + way + `" "` + argument(way) + `" </dev/null; then echo "` + way + `" >> "$OUT/open"; fi` + "\n")
	}
	outDir, err := script(t, "cp /recipe/escape .\n: > \"$OUT/open\"\n"+inside.String(), func(j *Job) {
		content, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(j.Inputs["/recipe"], "escape"), content, 0o755); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	open, err := os.ReadFile(filepath.Join(outDir, "open"))
	if err != nil || len(open) > 0 {
		t.Errorf("open in the sandbox: %s%v", open, err)
	}
	outside := slices.DeleteFunc(slices.Clone(ways), func(way string) bool {
		return run.Run(t.Context(), run.Cmd{Program: program, Args: []string{way, argument(way)}}) != nil
	})
	t.Logf("%d ways are closed in the sandbox, %d of them open outside", len(ways), len(outside))
	if len(outside) < openOutside {
		t.Errorf("open outside are only %q; wanted at least %d", outside, openOutside)
	}
}
