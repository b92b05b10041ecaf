package doctor_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/doctor"
	"github.com/flatcar/oem-sysext/release/prove/story"
	"github.com/flatcar/oem-sysext/release/prove/vm"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

func TestMain(m *testing.M) { testrelease.Main(m) }

// image makes a user's image of the cloud's tools.
func image(t *testing.T, made *testrelease.Release, version string) string {
	t.Helper()
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "image.raw")
	release := filepath.Join(dir, "usr/lib/extension-release.d/extension-release.oem-azure")
	if err := errors.Join(os.MkdirAll(filepath.Dir(release), 0o755),
		os.WriteFile(release, []byte("ID="+made.Base.Target.ID+"\nVERSION_ID="+version+"\n"), 0o644), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := made.Bench.Tools.Run(t.Context(), toolroot.Cmd{Program: "mksquashfs", Args: []string{dir, file, "-quiet"}, Read: []string{dir}, Write: []string{filepath.Dir(file)}}); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// The disks of machines that Flatcar installed, before an update to the release.
func TestExamine(t *testing.T) {
	made := testrelease.Made(t)
	to, err := story.Open(made.Options.Dir())
	if err != nil {
		t.Fatal(err)
	}
	version := to.Manifest.Base.VersionID
	at := slices.IndexFunc(to.Manifest.Platforms, func(p manifest.Platform) bool { return p.ID == "azure" })
	embedded := map[string]string{}
	for _, name := range to.Manifest.Platforms[at].Activates {
		embedded[name] = "/usr/" + disks.ImagesDir + "/" + name + ".raw"
	}
	renamed := maps.Clone(embedded)
	renamed["oem-azure-embedded"] = renamed["oem-azure"]
	delete(renamed, "oem-azure")
	oem := map[string]string{"oem-release": "ID=azure\n", "grub.cfg": "set oem_id=\"azure\"\n"}
	classic := map[string]string{"oem-release": "ID=azure\n", "sysext/active-oem-azure": "", "sysext/oem-azure-1.0.0.raw": "classic"}
	for _, c := range []struct {
		name      string
		oem, root map[string]string
		state     string
		merged    map[string]string
		said      string
		problems  []string
	}{
		{"vendor", classic, map[string]string{"etc/extensions/oem-azure.raw": "->/oem/sysext/oem-azure-1.0.0.raw"}, "vendor", embedded,
			"linked oem-azure", []string{"oem-azure-" + version + ".raw is nowhere on the disk"}},
		{"another version", oem, map[string]string{
			"etc/extensions/oem-azure.raw": "->/opt/images/azure.raw", "opt/images/azure.raw": image(t, made, "1.0.0"),
			"var/lib/extensions/noise.raw": "noise",
		}, "born ours", renamed, "is not merged: it has VERSION_ID=1.0.0", []string{"noise.raw: "}},
		{"own", oem, map[string]string{"var/lib/extensions/oem-azure.raw": image(t, made, version)}, "born ours",
			map[string]string{"oem-azure": "/var/lib/extensions/oem-azure.raw"}, "/var/lib/extensions/oem-azure.raw is the user's choice", nil},
		{"migrated", map[string]string{"grub.cfg": "set oem_id=azure\n"}, map[string]string{"etc/extensions": "->/etc"}, "migrated", embedded,
			"flatcar.oem.id=azure on the kernel command line", nil},
		{"unknown", map[string]string{}, map[string]string{"etc/flatcar/": ""}, "", map[string]string{}, "nothing linked",
			[]string{"nothing on the disk says which cloud it is"}},
	} {
		dir := t.TempDir()
		oem, errOEM := vm.OEM(t.Context(), made.Bench.Tools, filepath.Join(dir, "oem"), c.oem)
		root, errRoot := vm.Root(t.Context(), made.Bench.Tools, filepath.Join(dir, "root"), c.root)
		slotB := vm.UsrB("")
		slotB.Size, slotB.Attributes = 1<<30, nil
		disk := filepath.Join(dir, "disk")
		if err := errors.Join(errOEM, errRoot, vm.MakeDisk(t.Context(), made.Bench.Tools, disk, []vm.Partition{vm.UsrA(to.Slot.Usr.Path), slotB, oem, root})); err != nil {
			t.Fatal(err)
		}
		found, err := doctor.Examine(t.Context(), made.Options, disk)
		if err != nil {
			t.Fatal(c.name, err)
		}
		t.Logf("%s: %+v", c.name, found)
		if found.Runs != version || found.State != c.state || !maps.Equal(found.Merged, c.merged) || !strings.Contains(strings.Join(found.Said, "\n"), c.said) {
			t.Errorf("%s: found %+v", c.name, found)
		}
		if len(found.Problems) != len(c.problems) {
			t.Errorf("%s: problems are %q; wanted %q", c.name, found.Problems, c.problems)
			continue
		}
		for i, problem := range c.problems {
			if !strings.Contains(found.Problems[i], problem) {
				t.Errorf("%s: problem %q; wanted %q", c.name, found.Problems[i], problem)
			}
		}
	}
}
