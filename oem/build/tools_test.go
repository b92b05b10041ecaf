package build

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
)

// lockTools makes the recipe's lock file say what takes part in making it, after change has changed that.
func lockTools(t *testing.T, b *Builder, r *recipe.Recipe, change func(pin *lock.Pin)) {
	t.Helper()
	locked, err := b.ReadLock(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Toolsets(r, needsLibraries(b.Base)) {
		pins, err := b.LookTools(t.Context(), s, arch.Arch(runtime.GOARCH))
		if err != nil {
			t.Fatal(err)
		}
		for i := range pins {
			change(&pins[i])
		}
		locked.Set(s.Question(), "", arch.Arch(runtime.GOARCH), pins)
	}
	content, err := locked.Encode("tool")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(b.Checkout, filepath.Dir(r.File), lock.FileName), string(content))
}

// TestToolsAreLocked goes from a script whose tools nobody has locked to one whose compiler is another one than was locked.
func TestToolsAreLocked(t *testing.T) {
	dir := checkout(t, "build: {script: {run: build/build.sh, packages: ["+compilers+"]}}\n",
		"build/build.sh", "#!/bin/sh\nmkdir $OUT/usr; gcc --version > $OUT/usr/x\n")
	b, r := scripted(t, dir)
	var log bytes.Buffer
	b.Archive, b.Locked, b.Log = toolroottest.Archive(t), true, slog.New(slog.NewTextHandler(&log, nil))
	if _, err := made(t, b, r, arch.AMD64); err == nil || !strings.Contains(err.Error(), `no entry for "tools trixie tar `+strings.ReplaceAll(compilers, ",", "")+`" on `+runtime.GOARCH+"; run scripts/mage recipe:lock tool") {
		t.Errorf("nothing is locked: %v", err)
	}
	lockTools(t, b, r, func(*lock.Pin) {})
	if _, err := made(t, b, r, arch.AMD64); err != nil || log.Len() > 0 {
		t.Errorf("all is locked: %v\n%s", err, &log)
	}
	var offered string
	lockTools(t, b, r, func(pin *lock.Pin) {
		switch pin.Name {
		case "gcc":
			offered, pin.Version = pin.Version, "4:2.95-1"
		case "libc6":
			pin.Name = "libc5"
		}
	})
	for _, want := range []string{"recipes/tool/recipe.yaml: build tools differ from the lock file: gcc 4:2.95-1 is locked, but the archive has " + offered,
		"libc5", "is locked, but no longer installed", "; run scripts/mage recipe:lock tool"} {
		if _, err := made(t, b, r, arch.AMD64); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
	}
	b.Locked = false
	if _, err := made(t, b, r, arch.AMD64); err != nil || !strings.Contains(log.String(), "gcc 4:2.95-1 is locked, but the archive has "+offered) {
		t.Errorf("what is not locked cannot be made: %v\n%s", err, &log)
	}
}

// TestPatchelfIsLocked is the same for what makes libraries private.
func TestPatchelfIsLocked(t *testing.T) {
	b, r := fetching(t, privateRecipe)
	b.Base, b.Log = foreignBase(t, foreignRoot(t)), slog.New(slog.DiscardHandler)
	lockTools(t, b, r, func(*lock.Pin) {})
	if _, err := made(t, b, r, arch.AMD64); err != nil {
		t.Fatal(err)
	}
	lockTools(t, b, r, func(pin *lock.Pin) { pin.Version += "+other" })
	locked := resolved(t, b, r, arch.AMD64) // the packages themselves are not locked
	b.Locked = true
	if _, err := b.Tree(t.Context(), locked); err == nil || !strings.Contains(err.Error(), "patchelf ") || !strings.Contains(err.Error(), "but the archive has") {
		t.Errorf("error is %v", err)
	}
}

// TestLockedToolsAreWhatIsInstalled compares what is looked up in the archive's indexes with what mmdebstrap installs.
func TestLockedToolsAreWhatIsInstalled(t *testing.T) {
	b, _ := fetching(t, privateRecipe)
	s := Toolset{suite: "trixie", packages: strings.Split("tar, "+compilers, ", "), all: true}
	pins, err := b.LookTools(t.Context(), s, arch.Arch(runtime.GOARCH))
	if err != nil {
		t.Fatal(err)
	}
	root, err := b.open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(root.Path("var/lib/dpkg/status"))
	if err != nil {
		t.Fatal(err)
	}
	var installed, looked []string
	for line := range strings.Lines(string(status)) {
		if name, found := strings.CutPrefix(strings.TrimSpace(line), "Package: "); found {
			installed = append(installed, name+" "+root.Versions(name)[name])
		}
	}
	for _, pin := range pins {
		looked = append(looked, pin.Name+" "+pin.Version)
	}
	slices.Sort(installed)
	slices.Sort(looked)
	if diff := cmp.Diff(installed, looked); diff != "" {
		t.Errorf("installed (-) and looked up (+):\n%s", diff)
	}
}
