package setup

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// One error names every variable that has a wrong value.
func TestWrongValues(t *testing.T) {
	wanted := map[string]string{
		"ARCH=riscv64":           "riscv64",
		"JOBS=0":                 "wanted a number from 1 on",
		"CACHE_LIMIT=much":       "much",
		"LOCKED=maybe":           "wanted 1 or 0",
		"SOURCE_DATE_EPOCH=-1":   "wanted seconds since 1970",
		"IMAGES=ddi":             "wanted bare or signed",
		"PUBLISH=maybe":          "wanted 1 or 0",
		"REFRESHES=some":         "wanted a number",
		"SHARDS=none":            "wanted a number from 1 on",
		"SOURCE_DATE_EPOCH=soon": "wanted seconds since 1970",
	}
	for _, environ := range [][]string{
		{"ARCH=riscv64", "JOBS=0", "CACHE_LIMIT=much", "LOCKED=maybe", "SOURCE_DATE_EPOCH=-1", "IMAGES=ddi", "PUBLISH=maybe", "REFRESHES=some"},
		{"BASE=trixie", "SHARDS=none"},
		{"SOURCE_DATE_EPOCH=soon"},
	} {
		_, err := Read("..", environ)
		if err == nil {
			t.Errorf("takes %q", environ)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		for _, variable := range environ {
			told := slices.IndexFunc(lines, func(line string) bool {
				return strings.HasPrefix(line, variable+"; ") && strings.Contains(line, wanted[variable])
			})
			if _, wrong := wanted[variable]; wrong != (told >= 0) {
				t.Errorf("%s: error is %v; wanted %q", variable, err, wanted[variable])
			}
			if told >= 0 {
				lines = slices.Delete(lines, told, told+1)
			}
		}
		if len(lines) > 0 {
			t.Errorf("of %q it says as well %q", environ, lines)
		}
	}
}

// A mistake is told of by the name of a field, without that of the struct that has it. Texts cannot be wrong; of all others, no two
// fields may have the same name.
func TestEverySettingIsTold(t *testing.T) {
	names, checked := map[string]bool{}, 0
	for _, s := range Settings() {
		if names[s.Name] {
			t.Errorf("%s is read twice", s.Name)
		}
		if names[s.Name] = true; s.Meaning == "" {
			t.Errorf("nothing says what %s means", s.Name)
		}
		if _, err := Read("..", []string{s.Name + "=?"}); err != nil {
			checked++
			if !strings.HasPrefix(err.Error(), s.Name+"=?; ") {
				t.Errorf("%s: error is %v", s.Name, err)
			}
		}
	}
	if checked < 12 {
		t.Errorf("only %d settings are checked", checked)
	}
	for _, name := range []string{"ARCH", "CACHE_LIMIT", "FLATCAR_SERVER", "DEBIAN_MIRROR", "GITHUB_TOKEN", "SHARDS", "PUBLISH", "APPLY", "FUZZ_TIME"} {
		if !names[name] {
			t.Errorf("%s is no setting", name)
		}
	}
}

func TestDefaults(t *testing.T) {
	for name, environ := range map[string][]string{
		"unset": nil,
		"empty": {"ARCH=", "OUTPUT=", "CACHE=", "CACHE_LIMIT=", "JOBS=", "LOCKED=", "SOURCE_DATE_EPOCH=", "IMAGES=", "PREVIOUS=", "REFRESHES=", "SHARDS=", "PUBLISH=", "GITHUB_SERVER_URL="},
	} {
		o, err := Read("some", environ)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if o.Checkout != "some" || o.Arch != arch.AMD64 || o.Output != "_output" || o.Cache != ".cache" || o.CacheLimit != 20*size.GiB || int(o.Jobs) != runtime.NumCPU() {
			t.Errorf("%s: %+v", name, o)
		}
		if o.Locked || !o.Time().IsZero() || o.Kind != "" || len(o.Previous) > 0 || o.Proof.Refreshes != 200 || o.GitHub.Shards != 4 || o.Publish.Apply || o.GitHub.Server != "https://github.com" {
			t.Errorf("%s: %+v", name, o)
		}
		if o.Dir() != "_output/9999.0.0/amd64" {
			t.Errorf("%s: a release goes to %s", name, o.Dir())
		}
	}
}

func TestRead(t *testing.T) {
	o, err := Read("some", []string{
		"ARCH=arm64", "JOBS=3", "CACHE_LIMIT=8 GiB", "LOCKED=1", "SOURCE_DATE_EPOCH=1700000000", "IMAGES=signed", "PREVIOUS=a:b",
		"REMOTE_CACHE= here  https://there.example ", "GITHUB_REPOSITORY=owner/tools", "PUBLISH=1", "PRERELEASE=0", "OUTPUT=/there", "VERSION=1.2.3", "ANYTHING=else",
	})
	if err != nil {
		t.Fatal(err)
	}
	if o.Arch != arch.ARM64 || o.Parallel() != 3 || o.CacheLimit != 8*size.GiB || !o.Locked || !o.Time().Equal(time.Unix(1700000000, 0)) || o.Kind != SignedImages {
		t.Errorf("%+v", o)
	}
	if o.GitHub.Repository != "owner/tools" || !o.Publish.Apply || o.Publish.Prerelease || o.Dir() != "/there/1.2.3/arm64" {
		t.Errorf("%+v", o)
	}
	if diff := cmp.Diff([]string{"a", "b"}, o.Previous); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Words{"here", "https://there.example"}, o.RemoteCache); diff != "" {
		t.Error(diff)
	}
	// What is no setting of ours is looked up where the options came from, and not in this process.
	t.Setenv("OTHER", "this process's")
	for name, want := range map[string]string{"ANYTHING": "else", "ARCH": "arm64", "OTHER": ""} {
		if got := o.Getenv(name); got != want {
			t.Errorf("%s is %q; wanted %q", name, got, want)
		}
	}
	if got := (Options{}).Getenv("OTHER"); got != "this process's" {
		t.Errorf("without an environment it is %q", got)
	}
}

// A name that is almost one of ours is no reason to stop, but somebody should know. Others' names are none of ours.
func TestMisspeltNames(t *testing.T) {
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	defer func(old *os.File) { os.Stderr = old }(os.Stderr)
	os.Stderr = log
	_, err = Read("..", []string{
		"CACHE_LIMT=1 GiB", "UPDATE_KEYS=x", "PROFLIE=1", "PUBLISHX=1",
		"GITHUB_JOB=build", "GITHUB_ENVS=x", "CACHE=x", "CACHE_LIMIT=1 GiB", "PATH=/bin", "HOME=/root", "BASH=/bin/bash", "ARCHS=x",
	})
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(log.Name())
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	for name, ours := range map[string]string{"CACHE_LIMT": "CACHE_LIMIT", "UPDATE_KEYS": "UPDATE_KEY", "PROFLIE": "PROFILE", "PUBLISHX": "PUBLISH"} {
		if !slices.ContainsFunc(lines, func(line string) bool {
			return strings.Contains(line, "unknown variable") && strings.Contains(line, "="+name+" ") && strings.HasSuffix(line, "="+ours)
		}) {
			t.Errorf("no warning of %s for %s in\n%s", name, ours, content)
		}
	}
	if len(lines) != 4 {
		t.Errorf("warnings are\n%s", content)
	}
}
