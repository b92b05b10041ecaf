package fleet

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/definition/detect"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/format/osrelease"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/partition/integrate"
)

// tools have the programs that the scripts run.
var tools *toolroot.Root

// standIns are where the reference bases have what stands in for Flatcar's own scripts.
const standIns = "../../bases/base/files"

// machine is a Machine with two slots, on which Flatcar's own scripts run as well.
type machine struct {
	*Machine
	t      *testing.T
	early  bool // the initramfs merges, as since Flatcar 4628
	server bool // there is a network

	mergedEarly map[string]string // by the initramfs, if it merges
}

// someRelease is what the new release embeds.
func someRelease(integrated bool) activate.Release {
	return activate.Release{Integrated: integrated, Platforms: []activate.Platform{
		{Candidate: detect.Candidate{ID: "azure"}, KernelID: "azure", Images: []string{"oem-azure", "oem-shared-1"}},
		{Candidate: detect.Candidate{ID: "stackit"}, Images: []string{"oem-stackit"}},
		{Candidate: detect.Candidate{ID: "openstack"}, KernelID: "openstack", Images: []string{"oem-openstack"}},
	}}
}

func imageText(name, version, origin string) string {
	return "ID=flatcar\nVERSION_ID=" + version + "\nSYSEXT_ID=" + name + "\nORIGIN=" + origin + "\n"
}

func newMachine(t *testing.T, s State, w Wish, versions Versions) *machine {
	t.Helper()
	needs.Root(t)
	needs.Programs(t, "bwrap")
	simulated, err := NewMachine(t.TempDir(), tools, arch.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	simulated.Arguments, simulated.full = s.Arguments, w.Full
	m := &machine{Machine: simulated, t: t}
	for _, files := range []Files{s.Files, w.Files} {
		for _, name := range files.Paths() {
			m.put(name, files[name])
		}
	}
	m.slot("A", versions.Old, nil)
	m.slot("B", versions.New, someRelease(true).System())
	for _, version := range []string{versions.Old, versions.New} {
		m.write("server/oem-azure-"+version+".raw", imageText("oem-azure", version, "downloaded"))
	}
	return m
}

func (m *machine) mkdir(name string) {
	if err := os.MkdirAll(m.path(name), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) write(name, content string) {
	if err := m.Machine.write(name, content); err != nil {
		m.t.Fatal(err)
	}
}

// put makes a file of a state.
func (m *machine) put(name string, f File) {
	at := "root" + name
	_ = os.Remove(m.path(at))
	switch {
	case strings.HasSuffix(name, "/"):
		m.mkdir(at)
	case f.Target != "":
		m.mkdir(path.Dir(at))
		if err := os.Symlink(f.Target, m.path(at)); err != nil {
			m.t.Fatal(err)
		}
	case f.Image != nil:
		origin := "classic"
		if f.Image.Own {
			origin = "own"
		}
		m.write(at, imageText("oem-azure", f.Image.Version, origin))
	default:
		m.write(at, f.Text)
	}
}

// slot makes the /usr and the initramfs of a slot. One without files knows nothing of embedded images.
func (m *machine) slot(name, version string, files []embed.File) {
	usr := path.Join("slots", name, "usr")
	m.SetSlot(name, m.path(usr))
	m.write(usr+"/lib/os-release", "ID=flatcar\nVERSION="+version+"\nVERSION_ID="+version+"\n")
	m.write(usr+"/share/flatcar/oems/azure", m.standIn("root/usr/share/flatcar/oems/azure"))
	m.write(usr+"/lib/flatcar/bootengine.img", "")
	postinst, after := m.standIn("root/usr/bin/flatcar-postinst"), m.standIn("initrd/usr/sbin/initrd-setup-root-after-ignition")
	if files != nil {
		postinst, after = m.edit(integrate.Postinst, postinst), m.edit(integrate.AfterIgnition, after)
		for _, f := range append(files, integrate.Files()...) {
			if f.Target == "" {
				m.write(path.Join(usr, f.Path), string(f.Content))
			}
		}
		for _, p := range someRelease(true).Platforms {
			for _, image := range p.Images {
				m.write(path.Join(usr, embed.Dir, image+".raw"), imageText(image, version, "embedded"))
			}
		}
	}
	m.write(usr+"/postinst", postinst)
	m.write(path.Join("slots", name, "after"), after)
}

func (m *machine) standIn(name string) string {
	content, err := os.ReadFile(filepath.Join(standIns, name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(content)
}

func (m *machine) edit(s integrate.Script, script string) string {
	edited, err := s.Edit("the script", []byte(script))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(edited)
}

// boots lets a slot boot, and returns what is merged in the end: names with their origin.
func (m *machine) boots(slot string) (map[string]string, error) {
	ctx := m.t.Context()
	if err := m.starts(); err != nil {
		m.t.Fatal(err)
	}
	if m.server {
		m.write("server/on", "")
	}
	if err := m.activate(ctx, slot, true); err != nil {
		return nil, err
	}
	if err := m.run(ctx, slot, true, "/bin/sh", "/after"); err != nil {
		return nil, err
	}
	m.mergedEarly = m.origins(slot, "root/run")
	if err := m.activate(ctx, slot, false); err != nil {
		return nil, err
	}
	return m.origins(slot, "run"), nil
}

// updates runs the postinst of the slot that was written.
func (m *machine) updates(from, to string) error {
	return m.run(m.t.Context(), from, false, "/bin/bash", "/slots/"+to+"/usr/postinst", "/dev/null")
}

// origins are where what is merged comes from.
func (m *machine) origins(slot, run string) map[string]string {
	merged, err := m.merged(slot, run)
	if err != nil {
		m.t.Fatal(err)
	}
	for name, at := range merged {
		values, err := osrelease.Parse([]byte(m.text(slot, at)))
		if err != nil {
			m.t.Fatal(err)
		}
		merged[name] = values["ORIGIN"]
	}
	return merged
}

func (m *machine) text(slot, at string) string {
	content, err := os.ReadFile(view{root: m.Root(), usr: m.slots[slot]}.host(at))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(content)
}

var someVersions = Versions{Earlier: "1.0.0", Old: "2.0.0", New: "3.0.0"}

// What is asserted of each machine.
const (
	oldBoots   = "the old release has its tools, and downloads nothing"
	updates    = "the update downloads nothing"
	newBoots   = "the new release boots, and downloads nothing"
	newMerges  = "the new release has its tools, or what the user wishes"
	newAgain   = "the next boot is the same"
	earlyAlike = "the initramfs decides as the running system does"
	back       = "the old release has its tools after going back, and downloads nothing"
)

// lives lets a machine run the old release, be updated, run the new one, and go back. It returns which assertions failed.
func (m *machine) lives(state State, wish Wish) (failed []string) {
	assert := func(assertion string, holds bool) bool {
		m.t.Helper()
		if !holds {
			failed = append(failed, assertion)
			m.t.Logf("early merge %v, network %v: not so: %s; it says\n%s", m.early, m.server, assertion, m.said)
		}
		m.said = ""
		return holds
	}
	quiet := func(err error) bool { return err == nil && !strings.Contains(m.said, "downloading") }
	before, err := m.boots("A")
	assert(oldBoots, quiet(err))
	assert(updates, quiet(m.updates("A", "B")))
	after, err := m.boots("B")
	if assert(newBoots, quiet(err)) {
		assert(newMerges, maps.Equal(after, wanted(state, wish)))
		assert(earlyAlike, !m.early || maps.Equal(after, m.mergedEarly))
		again, err := m.boots("B")
		assert(newAgain, quiet(err) && maps.Equal(again, after))
	}
	gone, err := m.boots("A")
	assert(back, quiet(err) && maps.Equal(gone, before))
	return failed
}

// wanted is what the new release is to merge.
func wanted(state State, wish Wish) map[string]string {
	switch {
	case wish.Name == "image":
		return map[string]string{"oem-azure": "own"}
	case wish.Away:
		return map[string]string{}
	case wish.Files != nil && !state.Marked: // on the others Flatcar's link has taken the place of the user's
		return map[string]string{"oem-azure-embedded": "embedded", "oem-shared-1": "embedded"}
	}
	return map[string]string{"oem-azure": "embedded", "oem-shared-1": "embedded"}
}

// Every machine that exists, with all that its user may have done: it is updated, boots, and goes back, with a network and without.
func TestEveryMachineThatExists(t *testing.T) {
	tools = toolroottest.Open(t)
	for _, state := range States("azure", someVersions) {
		for _, wish := range Wishes("azure", someVersions) {
			t.Run(state.Name+", "+wish.Name, func(t *testing.T) {
				t.Parallel()
				for _, early := range []bool{false, true} {
					for _, server := range []bool{false, true} {
						if server && wish.Files != nil {
							continue // whether there is a network matters to those who ask for nothing
						}
						m := newMachine(t, state, wish, someVersions)
						m.early, m.server = early, server
						if failed := m.lives(state, wish); failed != nil {
							t.Errorf("early merge %v, network %v: %q", early, server, failed)
						}
					}
				}
			})
		}
	}
}

// Each state's story has a twin in which one thing of the new release is broken, and fails one assertion.
func TestBrokenTwins(t *testing.T) {
	tools = toolroottest.Open(t)
	const usr = "slots/B/usr/"
	unedited := func(script, standIn string) func(*machine) {
		return func(m *machine) { m.write(script, m.standIn(standIn)) }
	}
	replaced := func(file, old, with string) func(*machine) {
		return func(m *machine) {
			content, err := os.ReadFile(m.path(file))
			if err != nil || strings.Count(string(content), old) != 1 {
				m.t.Fatalf("%s has %q %d times; %v", file, old, strings.Count(string(content), old), err)
			}
			m.write(file, strings.Replace(string(content), old, with, 1))
		}
	}
	postinst := unedited(usr+"postinst", "root/usr/bin/flatcar-postinst")
	after := unedited("slots/B/after", "initrd/usr/sbin/initrd-setup-root-after-ignition")
	linkStays := replaced(usr+activate.Script, `rm -f "$root$link"`, ":")
	for _, twin := range []struct {
		state, wish string
		spoil       func(*machine)
		fails       string
	}{
		{"fresh", "none", after, newBoots},
		{"vendor", "none", linkStays, newMerges},
		{"updated", "none", replaced(usr+integrate.Hook, `"oem-$id-$running.raw" | `, ""), back},
		{"delivered", "none", linkStays, newMerges},
		{"payload on root", "none", postinst, updates},
		{"unmarked", "none", postinst, updates},
		{"migrated", "none", replaced(usr+activate.Script, "for key in flatcar.oem.id coreos.oem.id", "for key in flatcar.oem.id"), newMerges},
		{"born ours", "none", replaced(usr+activate.Script, "link /run/extensions || exit", ":"), newMerges},
		{"born ours", "link to an image for another version", replaced(usr+activate.Script, "hides=$hidden", ":"), newMerges},
		{"born ours", "switched off", replaced(usr+activate.Script, `off="$off ${word#-}@$file"`, ":"), newMerges},
		{"vendor", "image", replaced(usr+activate.Script, `rm -f "$root$link"`, ":"), newMerges},
	} {
		t.Run(twin.state+", "+twin.wish, func(t *testing.T) {
			t.Parallel()
			states, wishes := States("azure", someVersions), Wishes("azure", someVersions)
			state := states[slices.IndexFunc(states, func(s State) bool { return s.Name == twin.state })]
			wish := wishes[slices.IndexFunc(wishes, func(w Wish) bool { return w.Name == twin.wish })]
			m := newMachine(t, state, wish, someVersions)
			twin.spoil(m)
			if failed := m.lives(state, wish); !slices.Equal(failed, []string{twin.fails}) {
				t.Errorf("failed are %q; wanted %q", failed, twin.fails)
			}
		})
	}
}

func (m *machine) exists(name string) bool {
	_, err := os.Lstat(m.path("root" + name))
	return err == nil
}

// newMachineIn is a machine in a state by its name, whose user has done nothing, and which has booted its old release.
func newMachineIn(t *testing.T, state string) *machine {
	tools = toolroottest.Open(t)
	states := States("azure", someVersions)
	m := newMachine(t, states[slices.IndexFunc(states, func(s State) bool { return s.Name == state })], Wish{}, someVersions)
	if _, err := m.boots("A"); err != nil {
		t.Fatal(err, m.said)
	}
	return m
}

// comesUp boots a slot that is to have the embedded tools.
func (m *machine) comesUp(slot string) {
	m.t.Helper()
	want := map[string]string{"oem-azure": "embedded", "oem-shared-1": "embedded"}
	merged, err := m.boots(slot)
	if err != nil || !maps.Equal(merged, want) || m.early && !maps.Equal(m.mergedEarly, want) || strings.Contains(m.said, "downloading") {
		m.t.Errorf("slot %s: %v; merged are %v, early %v; it says\n%s", slot, err, merged, m.mergedEarly, m.said)
	}
	m.said = ""
}

// What a machine had before there were OEM images is removed when both its slots have images, and not before.
func TestOldToolsAreRemoved(t *testing.T) {
	for _, early := range []bool{false, true} {
		m := newMachineIn(t, "unmarked")
		m.early = early
		if err := m.updates("A", "B"); err != nil {
			t.Fatal(err, m.said)
		}
		m.comesUp("B")
		if !m.exists("/oem/bin/agent") || m.exists("/oem/sysext/active-oem-azure") {
			t.Error("the machine can no longer go back to the release that has its tools in /oem")
		}
		m.slot("A", "4.0.0", someRelease(true).System())
		if err := m.updates("B", "A"); err != nil || !m.exists("/oem/sysext/active-oem-azure") {
			t.Fatal(err, m.said)
		}
		m.comesUp("A")
		if m.exists("/oem/bin/agent") || m.exists("/oem/sysext/migrate-oem-azure") {
			t.Error("the old tools are still there")
		}
		m.comesUp("A")
		m.comesUp("B")
	}
}

// A machine whose kernel argument is another cloud's is known by its OEM partition, in the initramfs as in the running system.
func TestCloudOfTheOEMPartition(t *testing.T) {
	tools = toolroottest.Open(t)
	for _, early := range []bool{false, true} {
		state := State{Arguments: []string{"flatcar.oem.id=openstack"}, Files: Files{
			"/oem/oem-release": {Text: "ID=stackit\n"}, "/oem/sysext/active-oem-stackit": {}, "/oem/sysext/oem-stackit-2.0.0.raw": {Text: "classic"},
		}}
		m := newMachine(t, state, Wish{}, someVersions)
		m.early = early
		if _, err := m.boots("A"); err != nil {
			t.Fatal(err, m.said)
		}
		if err := m.updates("A", "B"); err != nil {
			t.Fatal(err, m.said)
		}
		merged, err := m.boots("B")
		if want := map[string]string{"oem-stackit": "embedded"}; err != nil || !maps.Equal(merged, want) || early && !maps.Equal(m.mergedEarly, want) {
			t.Errorf("%v; merged are %v, early %v; it says\n%s", err, merged, m.mergedEarly, m.said)
		}
	}
}

// Images of releases that are gone leave the OEM partition, and those of the running one stay.
func TestImagesOfOldReleases(t *testing.T) {
	m := newMachineIn(t, "updated")
	if err := m.updates("A", "B"); err != nil {
		t.Fatal(err, m.said)
	}
	if m.exists("/oem/sysext/oem-azure-1.0.0.raw") || !m.exists("/oem/sysext/oem-azure-2.0.0.raw") {
		t.Error("wrong images are left on the OEM partition")
	}
	m.comesUp("B")
	m.slot("A", "4.0.0", someRelease(true).System())
	if err := m.updates("B", "A"); err != nil || m.exists("/oem/sysext/oem-azure-2.0.0.raw") {
		t.Errorf("%v; the image of the release that is gone is there: %v", err, m.exists("/oem/sysext/oem-azure-2.0.0.raw"))
	}
	m.comesUp("A")
}

// An initramfs in the kernel cannot be edited. It finds a link to the embedded image.
func TestInitramfsInTheKernel(t *testing.T) {
	m := newMachineIn(t, "vendor")
	m.write("slots/B/after", m.standIn("initrd/usr/sbin/initrd-setup-root-after-ignition"))
	if err := os.Remove(m.path("slots/B/usr/lib/flatcar/bootengine.img")); err != nil {
		t.Fatal(err)
	}
	if err := m.updates("A", "B"); err != nil {
		t.Fatal(err, m.said)
	}
	m.comesUp("B")
	if merged, err := m.boots("A"); err != nil || merged["oem-azure"] != "classic" {
		t.Errorf("going back: %v, %v", merged, err)
	}
}

// Whatever is on the OEM partition and in the configuration, the machine boots, within bounds.
func TestHostileFiles(t *testing.T) {
	many := strings.Repeat("tool\n", 10_000)
	for name, spoil := range map[string]func(*machine){
		"loop of links":          func(m *machine) { m.put("/oem/oem-release", File{Target: "oem-release"}) },
		"directory for a file":   func(m *machine) { m.put("/etc/flatcar/enabled-sysext.conf/x", File{}) },
		"marker is a directory":  func(m *machine) { m.put("/oem/sysext/active-oem-azure/x", File{}) },
		"names with blanks":      func(m *machine) { m.put("/etc/extensions/a b \n.raw", File{Target: "/oem/sysext/a b"}) },
		"carriage returns":       func(m *machine) { m.put("/oem/oem-release", File{Text: "ID=azure\r\nX=\r\n"}) },
		"no final newline":       func(m *machine) { m.put("/oem/oem-release", File{Text: "ID=azure"}) },
		"10 000 lines":           func(m *machine) { m.put("/etc/flatcar/oem-sysext.conf", File{Text: many}) },
		"extensions are no dir":  func(m *machine) { m.put("/etc/extensions", File{Text: "x"}) },
		"link to a device":       func(m *machine) { m.put("/etc/extensions/oem-azure.raw", File{Target: "/dev/zero"}) },
		"link above the root":    func(m *machine) { m.put("/etc/extensions/oem-azure.raw", File{Target: "../../../../../oem/x"}) },
		"an image that is noise": func(m *machine) { m.put("/var/lib/extensions/oem-azure.raw", File{Text: "noise"}) },
		"10 000 entries": func(m *machine) {
			m.mkdir("root/etc/extensions")
			for i := range 10_000 {
				if err := os.Symlink("/nowhere", m.path("root/etc/extensions/"+strings.Repeat("x", 3)+string(rune('a'+i%26))+strings.Repeat("y", i/26%200)+".raw")); err != nil && !errors.Is(err, fs.ErrExist) {
					m.t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachineIn(t, "born ours")
			spoil(m)
			if _, err := m.boots("B"); err != nil {
				t.Errorf("it does not boot: %v\n%.1000s", err, m.said)
			}
			if lines := strings.Count(m.said, "\n"); lines > 25 {
				t.Errorf("it says %d lines", lines)
			}
		})
	}
}

// Each state is told from the others by what is on the disk.
func TestStateOf(t *testing.T) {
	tools = toolroottest.Open(t)
	for _, state := range States("azure", someVersions) {
		m := newMachine(t, state, Wish{}, someVersions)
		root, err := os.OpenRoot(m.Root())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if found := StateOf(root, "azure", someVersions); found.Name != state.Name {
			t.Errorf("%s is taken for %s", state.Name, found.Name)
		}
	}
}
