package activate

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition"
	"github.com/flatcar/oem-sysext/oem/definition/detect"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// some are platforms that show every kind of rule.
var some = []Platform{
	{
		Candidate: detect.Candidate{ID: "azure", Rules: []detect.Rule{{DMI: map[detect.Field]detect.Pattern{"chassis_asset_tag": "7783-7084"}}}, Before: []string{"hyperv"}},
		KernelID:  "azure", Images: []string{"oem-azure", "oem-shared-1"},
	}, {
		Candidate: detect.Candidate{ID: "ami", Rules: []detect.Rule{
			{Virt: "xen", DMI: map[detect.Field]detect.Pattern{"product_uuid": "????2?ec-*"}},
			{Hypervisor: detect.Hypervisor{Type: "xen", UUID: "ec2*"}},
			{DMI: map[detect.Field]detect.Pattern{"sys_vendor": "It's [a] \\ \"test\" $HOME `x`"}},
		}},
		KernelID: "ec2", Images: []string{"oem-ami"},
	}, {
		Candidate: detect.Candidate{ID: "hyperv", Rules: []detect.Rule{{DMI: map[detect.Field]detect.Pattern{"sys_vendor": "Microsoft Corporation"}}}},
		KernelID:  "hyperv",
	}, {
		Candidate: detect.Candidate{ID: "openstack", Rules: []detect.Rule{{DiskLabel: "config-2", Fallback: true}, {DMI: map[detect.Field]detect.Pattern{"product_name": "OpenStack Nova"}}}},
		KernelID:  "openstack", Images: []string{"oem-openstack"},
	}, {
		Candidate: detect.Candidate{ID: "scaleway", Rules: []detect.Rule{{KernelArgument: "scaleway"}, {DMI: map[detect.Field]detect.Pattern{"sys_vendor": "Scaleway"}}}},
		KernelID:  "scaleway", Images: []string{"oem-scaleway"},
	}, {
		Candidate: detect.Candidate{ID: "stackit", AmbiguousWith: []string{"openstack"}},
		Images:    []string{"oem-stackit"},
	},
}

// tools is the tool root, opened once.
var tools *toolroot.Root

// private is a root directory with the script's programs and nothing else of the host.
type private struct {
	t     testing.TB
	dir   string
	shell string // of those in the tool root
}

func newPrivate(t testing.TB, platforms []Platform, more ...Extension) *private {
	t.Helper()
	needs.Root(t)
	needs.Programs(t, "bwrap")
	if tools == nil {
		tools = toolroottest.Open(t)
	}
	p := &private{t: t, dir: t.TempDir(), shell: "dash"}
	p.link("lib", "programs/lib")
	p.link("lib64", "programs/lib64")
	p.write("usr/"+Script, Release{Platforms: platforms, Extensions: more, Integrated: true}.script())
	p.write("bin/systemd-detect-virt", "#!/programs/bin/sh\necho none; exit 1\n")
	p.write("proc/cmdline", "quiet\n")
	for _, platform := range platforms {
		for _, image := range platform.Images {
			p.write("usr/"+embed.Dir+"/"+image+".raw", image)
		}
	}
	return p
}

func (p *private) write(name, content string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		p.t.Fatal(err)
	}
}

func (p *private) link(name, target string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		p.t.Fatal(err)
	}
}

// run runs the script and returns its line.
func (p *private) run(args ...string) string {
	p.t.Helper()
	said, err := p.start(Script, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return said
}

// start runs what is at a path in /usr.
func (p *private) start(script string, args ...string) (said string, err error) {
	var out bytes.Buffer
	bwrap := []string{
		"--unshare-all", "--die-with-parent", "--clearenv", "--setenv", "PATH", "/bin:/programs/bin",
		"--bind", p.dir, "/", "--dev-bind", "/dev/null", "/dev/null",
		"--ro-bind", tools.Path("usr"), "/programs", "/programs/bin/" + p.shell, "/usr/" + script,
	}
	err = run.Run(p.t.Context(), run.Cmd{Program: "bwrap", Args: append(bwrap, args...), Env: run.HostEnv("PATH"), Stdout: &out})
	return strings.TrimSuffix(out.String(), "\n"), err
}

// links returns the links below a directory, by name.
func (p *private) links(dir string) map[string]string {
	p.t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(p.dir, dir))
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	for _, entry := range entries {
		if target, err := os.Readlink(filepath.Join(p.dir, dir, entry.Name())); err == nil {
			found[entry.Name()] = target
		}
	}
	return found
}

func TestLinks(t *testing.T) {
	type given map[string]string // as give takes it
	azure := []string{"oem-azure", "oem-shared-1"}
	const conf, own = "etc/flatcar/enabled-sysext.conf", "etc/extensions/oem-azure"
	for name, c := range map[string]struct {
		given given
		links []string
		says  string
	}{
		"oem-release":             {given{"oem/oem-release": "NAME=x\nID=azure\n"}, azure, "linked oem-azure oem-shared-1: ID=azure in /oem/oem-release"},
		"quotes":                  {given{"oem/oem-release": "ID=\"azure\"\n"}, azure, "ID=azure in"},
		"single quotes, no end":   {given{"oem/oem-release": "ID='azure'"}, azure, "ID=azure in"},
		"space":                   {given{"oem/oem-release": "  ID=azure  \n"}, azure, "ID=azure in"},
		"the last one":            {given{"oem/oem-release": "ID=ami\nID=azure\n"}, azure, "ID=azure in"},
		"another key":             {given{"oem/oem-release": "VERSION_ID=azure\n"}, nil, "nothing linked: no /oem/oem-release"},
		"unknown":                 {given{"oem/oem-release": "ID=mine\n"}, nil, "nothing linked: this release has no images for mine (ID=mine in"},
		"not embedded":            {given{"oem/oem-release": "ID=hyperv\n"}, nil, "no images for hyperv"},
		"path":                    {given{"oem/oem-release": "ID=../azure\n"}, nil, "nothing linked: no /oem/oem-release"},
		"command":                 {given{"oem/oem-release": "ID=$(touch /ran)\nID=`touch /ran`;touch /ran\n"}, nil, "nothing linked"},
		"glob":                    {given{"oem/oem-release": "ID=*\n"}, nil, "nothing linked"},
		"escapes":                 {given{"oem/oem-release": "ID=\x1b[2J\\0\n"}, nil, "nothing linked"},
		"one quote":               {given{"oem/oem-release": "ID=\"\n"}, nil, "nothing linked"},
		"a directory":             {given{"oem/oem-release/x": ""}, nil, "nothing linked"},
		"oem-release first":       {given{"oem/oem-release": "ID=azure\n", "proc/cmdline": "flatcar.oem.id=ec2\n"}, azure, "ID=azure in"},
		"argument":                {given{"proc/cmdline": "a=b flatcar.oem.id=ec2 c\n"}, []string{"oem-ami"}, "linked oem-ami: flatcar.oem.id=ec2 on the kernel command line"},
		"the last argument":       {given{"proc/cmdline": "flatcar.oem.id=azure flatcar.oem.id=ec2\n"}, []string{"oem-ami"}, "flatcar.oem.id=ec2"},
		"shared kernel id":        {given{"proc/cmdline": "flatcar.oem.id=openstack\n"}, []string{"oem-openstack"}, "flatcar.oem.id=openstack"},
		"name, not kernel id":     {given{"proc/cmdline": "flatcar.oem.id=ami\n"}, nil, "nothing linked: this release knows no platform for flatcar.oem.id=ami"},
		"CoreOS":                  {given{"proc/cmdline": "coreos.oem.id=ec2\n"}, []string{"oem-ami"}, "linked oem-ami: coreos.oem.id=ec2 on the kernel command line"},
		"Flatcar before CoreOS":   {given{"proc/cmdline": "flatcar.oem.id=azure coreos.oem.id=ec2\n"}, azure, "flatcar.oem.id=azure"},
		"argument with a glob":    {given{"proc/cmdline": "flatcar.oem.id=* /*\n"}, nil, "nothing linked: no"},
		"argument before markers": {given{"proc/cmdline": "flatcar.oem.id=ec2", "sys/class/dmi/id/chassis_asset_tag": "7783-7084\n"}, []string{"oem-ami"}, "flatcar.oem.id=ec2"},
		"markers":                 {given{"sys/class/dmi/id/chassis_asset_tag": "7783-7084 \n"}, azure, "linked oem-azure oem-shared-1: the machine's markers"},
		"ambiguous markers":       {given{"sys/class/dmi/id/product_name": "OpenStack Nova"}, []string{"oem-openstack"}, "the machine's markers (they may also be those of stackit; flatcar.oem.id= tells)"},
		"two platforms' markers":  {given{"sys/class/dmi/id/chassis_asset_tag": "7783-7084", "sys/class/dmi/id/product_name": "OpenStack Nova"}, nil, "nothing linked: by its markers this machine may be any of azure openstack"},
		"hostile markers":         {given{"sys/class/dmi/id/sys_vendor": "$(touch /ran)\n", "dev/disk/by-label/$(touch ran)": ""}, nil, "nothing linked"},

		"own image":              {given{"oem/oem-release": "ID=azure", own + ".raw": "mine"}, nil, "nothing linked for azure (ID=azure in /oem/oem-release): /etc/extensions/oem-azure.raw is the user's choice"},
		"own image elsewhere":    {given{"oem/oem-release": "ID=azure", "var/lib/extensions/oem-azure.raw": "mine"}, nil, "/var/lib/extensions/oem-azure.raw is the user's choice"},
		"mask":                   {given{"oem/oem-release": "ID=azure", own + "/": ""}, nil, "/etc/extensions/oem-azure is the user's choice"},
		"own versions":           {given{"oem/oem-release": "ID=azure", own + ".raw.v/oem-azure_1.raw": ""}, nil, "/etc/extensions/oem-azure.raw.v is the user's choice"},
		"link to nothing":        {given{"oem/oem-release": "ID=azure", own + ".raw": "->/oem/sysext/oem-azure-1.raw"}, azure, "linked"},
		"link to /dev/null":      {given{"oem/oem-release": "ID=azure", own + ".raw": "->/dev/null"}, nil, "is the user's choice"},
		"link in a circle":       {given{"oem/oem-release": "ID=azure", own + ".raw": "->oem-azure.raw"}, azure, "linked"},
		"link to what we embed":  {given{"oem/oem-release": "ID=azure", own + ".raw": "->/usr/share/flatcar/oem-sysext/oem-azure.raw"}, azure, "linked"},
		"link to a classic link": {given{"oem/oem-release": "ID=azure", own + ".raw": "->/oem/sysext/oem-azure-1.raw", "oem/sysext/oem-azure-1.raw": "->../../usr/share/flatcar/oem-sysext/oem-azure.raw"}, azure, "linked"},
		"another image":          {given{"oem/oem-release": "ID=azure", "etc/extensions/other.raw": "mine"}, azure, "linked"},
		"switched off":           {given{"oem/oem-release": "ID=azure", conf: "-oem-azure # not here\n"}, nil, "-oem-azure in /etc/flatcar/enabled-sysext.conf is the user's choice"},
		"switched off, no end":   {given{"oem/oem-release": "ID=azure", conf: " -oem-azure"}, nil, "is the user's choice"},
		"another switched off":   {given{"oem/oem-release": "ID=azure", conf: "# -oem-azure\n-oem-azure2\n-oem-ami\n-*\n"}, azure, "linked"},

		"links there already": {given{"oem/oem-release": "ID=azure", "run/extensions/oem-azure.raw": "->/usr/share/flatcar/oem-sysext/oem-azure.raw"}, azure, "linked"},
	} {
		for _, shell := range []string{"dash", "bash"} {
			t.Run(name+" in "+shell, func(t *testing.T) {
				p := newPrivate(t, some)
				p.shell = shell
				p.give(c.given)
				says := p.run()
				if !strings.Contains(says, c.says) || strings.Contains(says, "\n") {
					t.Errorf("it says %q; wanted one line with %q", says, c.says)
				}
				want := map[string]string{}
				for _, image := range c.links {
					want[image+".raw"] = "/usr/share/flatcar/oem-sysext/" + image + ".raw"
				}
				if diff := cmp.Diff(want, p.links("run/extensions")); diff != "" {
					t.Error(diff)
				}
				if _, err := os.Stat(filepath.Join(p.dir, "ran")); err == nil {
					t.Error("a command of the machine's words ran")
				}
			})
		}
	}
}

// exists tells whether something, a link to nothing included, is at a path.
func (p *private) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(p.dir, name))
	return err == nil
}

// Flatcar's initramfs links the image on the OEM partition in each boot. That is nobody's choice, and it would hide what is embedded.
func TestFlatcarsOwnLink(t *testing.T) {
	const link, conf = "etc/extensions/oem-azure.raw", "etc/flatcar/enabled-sysext.conf"
	for name, c := range map[string]struct {
		given map[string]string
		links int
		stays bool
	}{
		"on the OEM partition":   {map[string]string{link: "->/oem/sysext/oem-azure-1.0.0.raw"}, 2, false},
		"on the root partition":  {map[string]string{link: "->/etc/flatcar/oem-sysext/oem-azure-1.0.0.raw"}, 2, false},
		"switched off":           {map[string]string{link: "->/oem/sysext/oem-azure-1.0.0.raw", conf: "-oem-azure"}, 0, false},
		"the user's, elsewhere":  {map[string]string{link: "->/oem/sysext/oem-azure-1.0.0.raw", "var/lib/extensions/oem-azure.raw": "mine"}, 0, false},
		"another name":           {map[string]string{link: "->/oem/sysext/mine.raw"}, 0, true},
		"a longer path":          {map[string]string{link: "->/oem/sysext/oem-azure-1/../mine.raw"}, 0, true},
		"of what is embedded":    {map[string]string{link: "->/usr/share/flatcar/oem-sysext/oem-azure.raw"}, 2, true},
		"of it, switched off":    {map[string]string{link: "->/usr/share/flatcar/oem-sysext/oem-azure.raw", conf: "-oem-azure"}, 0, false},
		"of it, before another":  {map[string]string{link: "->/usr/share/flatcar/oem-sysext/oem-azure.raw", "var/lib/extensions/oem-azure.raw": "mine"}, 2, true},
		"a file, not a link":     {map[string]string{link: "mine"}, 0, true},
		"another cloud's, stays": {map[string]string{link: "->/oem/sysext/oem-ami-1.0.0.raw"}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPrivate(t, some)
			p.give(map[string]string{
				"oem/oem-release": "ID=azure", "oem/sysext/oem-azure-1.0.0.raw": "classic", "oem/sysext/oem-ami-1.0.0.raw": "classic",
				"etc/flatcar/oem-sysext/oem-azure-1.0.0.raw": "classic", "oem/sysext/mine.raw": "mine", "oem/sysext/oem-azure-1/x": "",
			})
			p.give(c.given)
			says := p.run()
			if links := p.links("run/extensions"); len(links) != c.links {
				t.Errorf("linked is %v; it says %q", links, says)
			}
			if stays := p.exists(link); stays != c.stays {
				t.Errorf("/%s is there: %v; wanted %v; it says %q", link, stays, c.stays, says)
			}
		})
	}
}

// What the initramfs has linked does not stay where the running system decides otherwise, by a configuration that came later.
func TestNothingStaysOfAnEarlierDecision(t *testing.T) {
	p := newPrivate(t, some)
	p.link("sysroot", ".")
	p.write("oem/oem-release", "ID=azure\n")
	p.run("/sysroot")
	if links := p.links("run/extensions"); len(links) != 2 {
		t.Fatalf("the initramfs has linked %v", links)
	}
	p.write("etc/flatcar/oem-sysext.conf", "-oem-azure\n")
	says := p.run()
	if links := p.links("run/extensions"); len(links) != 0 {
		t.Errorf("linked is %v; it says %q", links, says)
	}
}

// An image of the user's that systemd-sysext leaves out here does not take the tools away.
func TestImageForAnotherSystem(t *testing.T) {
	const ours = "ID=flatcar\nVERSION_ID=2.0.0\nSYSEXT_LEVEL=1.0\n"
	for name, c := range map[string]struct {
		release string
		why     string // of the refusal; empty if it is merged
	}{
		"this version":    {"ID=flatcar\nVERSION_ID=2.0.0\n", ""},
		"another version": {"ID=flatcar\nVERSION_ID=1.0.0\n", "VERSION_ID=1.0.0, and this system has 2.0.0"},
		"no version":      {"ID=flatcar\n", "VERSION_ID="},
		"this level":      {"ID=flatcar\nVERSION_ID=1.0.0\nSYSEXT_LEVEL=\"1.0\"\n", ""},
		"another level":   {"ID=flatcar\nVERSION_ID=2.0.0\nSYSEXT_LEVEL=2.0\n", "SYSEXT_LEVEL=2.0"},
		"another system":  {"ID=debian\nVERSION_ID=2.0.0\n", "ID=debian"},
		"any system":      {"ID=_any\n", ""},
		"this machine":    {"ID=_any\nARCHITECTURE=x86-64\n", ""},
		"another machine": {"ID=_any\nARCHITECTURE=sparc64\n", "ARCHITECTURE=sparc64"},
		"any machine":     {"ID=_any\nARCHITECTURE=_any\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPrivate(t, some)
			p.give(map[string]string{
				"oem/oem-release": "ID=azure", "usr/lib/os-release": ours, "proc/sys/kernel/arch": "x86_64\n",
				"etc/extensions/oem-azure.raw": "->/var/mine", "var/mine/usr/lib/extension-release.d/extension-release.oem-azure": c.release,
			})
			says := p.run()
			links := p.links("run/extensions")
			_, own := links["oem-azure-embedded.raw"]
			switch {
			case c.why == "":
				if len(links) != 0 || !strings.Contains(says, "is the user's choice") {
					t.Errorf("linked is %v; it says %q", links, says)
				}
			case !strings.Contains(p.decisions(), "as oem-azure-embedded, since /etc/extensions/oem-azure.raw has "+c.why):
				t.Errorf("decided is\n%s", p.decisions())
			case !own || len(links) != 2 || !strings.HasPrefix(says, "/etc/extensions/oem-azure.raw is not merged: it has "+c.why):
				t.Errorf("linked is %v; it says %q", links, says)
			}
		})
	}
}

// decisions are what the script leaves for the command.
func (p *private) decisions() string {
	content, _ := os.ReadFile(filepath.Join(p.dir, "run/oem-sysext.decided"))
	return string(content)
}

// A release that leaves Flatcar's after-ignition step alone does not work against it.
func TestNotIntegrated(t *testing.T) {
	for name, c := range map[string]struct {
		payload string
		links   int
	}{
		"of this release":    {"oem/sysext/oem-azure-2.0.0.raw", 0},
		"on the root":        {"etc/flatcar/oem-sysext/oem-azure-2.0.0.raw", 0},
		"of another release": {"oem/sysext/oem-azure-1.0.0.raw", 2},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPrivate(t, some)
			p.write("usr/"+Script, Release{Platforms: some}.script())
			p.give(map[string]string{
				"oem/oem-release": "ID=azure", "usr/lib/os-release": "VERSION=2.0.0\n", "oem/sysext/active-oem-azure": "", c.payload: "classic",
				"etc/extensions/oem-azure.raw": "->/" + c.payload,
			})
			says := p.run()
			if links := p.links("run/extensions"); len(links) != c.links {
				t.Errorf("linked is %v; it says %q", links, says)
			}
		})
	}
}

// give makes files: with a content, with a target after ->, or a directory where the name ends in a slash.
func (p *private) give(files map[string]string) {
	p.t.Helper()
	for name, content := range files {
		switch target, isLink := strings.CutPrefix(content, "->"); {
		case isLink:
			p.link(name, target)
		case strings.HasSuffix(name, "/"):
			if err := os.MkdirAll(filepath.Join(p.dir, name), 0o755); err != nil {
				p.t.Fatal(err)
			}
		default:
			p.write(name, content)
		}
	}
}

// Without one of its images a platform would run half.
func TestMissingImage(t *testing.T) {
	p := newPrivate(t, some)
	p.write("oem/oem-release", "ID=azure\n")
	if err := os.Remove(filepath.Join(p.dir, "usr", embed.Dir, "oem-shared-1.raw")); err != nil {
		t.Fatal(err)
	}
	if says := p.run(); !strings.Contains(says, "oem-shared-1.raw is missing") {
		t.Errorf("it says %q", says)
	}
	if links := p.links("run/extensions"); len(links) > 0 {
		t.Errorf("linked is %v", links)
	}
}

// bind makes some images appear where the mount unit binds their directory.
func (p *private) bind(files ...string) {
	for _, file := range files {
		p.write(filepath.Join(Images, file), "")
	}
}

// Links lead below what is merged over /usr, where that path is there.
func TestLinksLeadBelowTheMerge(t *testing.T) {
	p := newPrivate(t, some, Extension{Name: "two", Always: true, Versions: []Version{{Name: "2", File: "two-2.raw"}}})
	p.write("oem/oem-release", "ID=azure\n")
	p.write(filepath.Join("usr", embed.Dir, "two-2.raw"), "")
	p.bind("oem-azure.raw", "oem-shared-1.raw", "two-2.raw")
	p.run()
	want := map[string]string{
		"oem-azure.raw": Images + "/oem-azure.raw", "oem-shared-1.raw": Images + "/oem-shared-1.raw", "two.raw": Images + "/two-2.raw",
	}
	if diff := cmp.Diff(want, p.links("run/extensions")); diff != "" {
		t.Error(diff)
	}
}

// In an initramfs everything but the machine itself lies below the root file system's mount point.
func TestInitrd(t *testing.T) {
	p := newPrivate(t, some)
	if err := os.Mkdir(filepath.Join(p.dir, "sysroot"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(p.dir, "usr"), filepath.Join(p.dir, "sysroot/usr")); err != nil {
		t.Fatal(err)
	}
	p.write("usr/"+Script, Release{Platforms: some}.script())
	p.write("oem/oem-release", "ID=ami\n") // not the machine's
	p.write("sysroot/oem/oem-release", "ID=azure\n")
	p.write("sysroot/oem/sysext/active-oem-azure", "")
	p.write("sysroot/oem/sysext/oem-azure-1.0.0.raw", "of another release")
	p.write("sysroot/usr/lib/os-release", "ID=flatcar\nVERSION=\"2.0.0+nightly-1\"\nVERSION_ID=2.0.0\n")
	p.link("sysroot/run/extensions/oem-ami.raw", "/usr/share/flatcar/oem-sysext/oem-ami.raw") // of an earlier boot
	p.link("sysroot/run/extensions/oem-gce.raw", Images+"/oem-gce.raw")                       // the same
	p.link("sysroot/run/extensions/other.raw", "/var/other.raw")
	p.link("sysroot/etc/extensions/oem-azure.raw", "/oem/sysext/oem-azure-2.0.0+nightly-1.raw")
	if says := p.run("/sysroot"); !strings.HasPrefix(says, "linked oem-azure oem-shared-1") {
		t.Errorf("it says %q", says)
	}
	want := map[string]string{
		"oem-azure.raw":    "/usr/share/flatcar/oem-sysext/oem-azure.raw",
		"oem-shared-1.raw": "/usr/share/flatcar/oem-sysext/oem-shared-1.raw",
	}
	if diff := cmp.Diff(want, p.links("run/extensions")); diff != "" {
		t.Error(diff)
	}
	want["other.raw"] = "/var/other.raw"
	if diff := cmp.Diff(want, p.links("sysroot/run/extensions")); diff != "" {
		t.Error(diff)
	}
	classic := map[string]string{"oem-azure-2.0.0+nightly-1.raw": "../../usr/share/flatcar/oem-sysext/oem-azure.raw"}
	if diff := cmp.Diff(classic, p.links("sysroot/oem/sysext")); diff != "" {
		t.Error(diff)
	}
	content, err := os.ReadFile(filepath.Join(p.dir, "sysroot/oem/sysext/oem-azure-2.0.0+nightly-1.raw"))
	if err != nil || string(content) != "oem-azure" {
		t.Errorf("the machine's image for this version is %q, %v", content, err)
	}
	if says := p.run("/sysroot"); !strings.HasPrefix(says, "linked oem-azure oem-shared-1") {
		t.Errorf("once more it says %q", says)
	}
}

// Flatcar's initramfs has downloaded an image for this version: that stays.
func TestDownloadedImageStays(t *testing.T) {
	p := newPrivate(t, some)
	if err := os.Mkdir(filepath.Join(p.dir, "sysroot"), 0o755); err != nil {
		t.Fatal(err)
	}
	p.write("sysroot/oem/oem-release", "ID=azure\n")
	p.write("sysroot/oem/sysext/active-oem-azure", "")
	p.write("sysroot/usr/lib/os-release", "VERSION=1.0.0\n")
	p.write("sysroot/usr/share/flatcar/oem-sysext/oem-azure.raw", "")
	p.write("sysroot/usr/share/flatcar/oem-sysext/oem-shared-1.raw", "")
	p.write("sysroot/oem/sysext/oem-azure-1.0.0.raw", "downloaded")
	p.run("/sysroot")
	content, err := os.ReadFile(filepath.Join(p.dir, "sysroot/oem/sysext/oem-azure-1.0.0.raw"))
	if err != nil || string(content) != "downloaded" {
		t.Errorf("the machine's image for this version is %q, %v", content, err)
	}
}

// The script judges machines as package detect does.
func TestScriptAgreesWithJudge(t *testing.T) {
	machines := []detect.Machine{
		{},
		{DMI: map[detect.Field]string{"chassis_asset_tag": "7783-7084", "sys_vendor": "MICROSOFT corporation"}},
		{DMI: map[detect.Field]string{"sys_vendor": "Microsoft Corporation"}},
		{DMI: map[detect.Field]string{"product_uuid": "45E12AEC-DCD1"}, Virt: "xen"},
		{DMI: map[detect.Field]string{"product_uuid": "45E12AEC-DCD1"}, Virt: "kvm"},
		{DMI: map[detect.Field]string{"product_uuid": "45E1AEC-DCD1"}, Virt: "xen"},
		{DMI: map[detect.Field]string{"sys_vendor": "it's [A] \\ \"test\" $HOME `x`"}},
		{DMI: map[detect.Field]string{"sys_vendor": "it's A \\ \"test\" $HOME `x`"}},
		{Hypervisor: struct{ Type, UUID string }{"xen", "EC2e1916"}},
		{Hypervisor: struct{ Type, UUID string }{"kvm", "ec2e1916"}},
		{KernelArguments: []string{"quiet", "scaleway"}},
		{KernelArguments: []string{"quiet", "scaleway.x"}},
		{DiskLabels: []string{"ROOT", "CONFIG-2"}},
		{DiskLabels: []string{"config-2"}, DMI: map[detect.Field]string{"sys_vendor": "Scaleway"}},
		{DMI: map[detect.Field]string{"sys_vendor": "Scaleway", "product_name": "OpenStack Nova"}},
		{DMI: map[detect.Field]string{"product_name": "OpenStack Nova"}, Hypervisor: struct{ Type, UUID string }{"xen", "ec2e1916"}},
		{DiskLabels: []string{"config-2"}, Hypervisor: struct{ Type, UUID string }{"xen", "ec2e1916"}},
		{DMI: map[detect.Field]string{"bios_version": "4.2", "bios_vendor": "Xen"}, Virt: "xen"},
		{DMI: map[detect.Field]string{"bios_version": "4.2", "bios_vendor": "Other"}, Virt: "xen"},
		{DMI: map[detect.Field]string{"bios_version": "4.2"}, Virt: "xen"},
	}
	for _, m := range machines {
		agrees(t, some, m)
	}
}

// TestScriptJudgesKnownMachines shows the script of all platforms the machines that are known.
func TestScriptJudgesKnownMachines(t *testing.T) {
	definitions, err := definition.Platforms(os.DirFS("../../.."))
	if err != nil {
		t.Fatal(err)
	}
	var all []Platform
	for _, d := range definitions {
		all = append(all, Platform{Candidate: d.Candidate(), Images: []string{d.Image()}})
	}
	known, err := detect.Machines()
	if err != nil {
		t.Fatal(err)
	}
	for _, machine := range known {
		agrees(t, all, machine.Machine())
	}
}

// agrees asserts that the script links the image of the platform that package detect judges a machine to be of.
func agrees(t *testing.T, platforms []Platform, m detect.Machine) {
	t.Helper()
	var candidates []detect.Candidate
	for _, p := range platforms {
		candidates = append(candidates, p.Candidate)
	}
	p := newPrivate(t, platforms)
	p.show(m)
	verdict := detect.Judge(m, candidates)
	want := map[string]string{}
	for _, platform := range platforms {
		for _, image := range platform.Images {
			if platform.ID == verdict.ID {
				want[image+".raw"] = "/usr/share/flatcar/oem-sysext/" + image + ".raw"
			}
		}
	}
	says := p.run()
	if diff := cmp.Diff(want, p.links("run/extensions")); diff != "" {
		t.Errorf("%+v, which is judged as %+v; the script says %q:\n%s", m, verdict, says, diff)
	}
	if maybe := strings.Join(verdict.Maybe, " "); verdict.ID != "" && !strings.Contains(says, maybe) {
		t.Errorf("%+v may be %s; the script says %q", m, maybe, says)
	}
}

// show makes the machine's markers.
func (p *private) show(m detect.Machine) {
	for field, value := range m.DMI {
		p.write("sys/class/dmi/id/"+string(field), value+"\n")
	}
	if m.Virt != "" {
		p.write("bin/systemd-detect-virt", "#!/programs/bin/sh\necho "+string(m.Virt)+"\n")
	}
	if m.Hypervisor.Type != "" {
		p.write("sys/hypervisor/type", m.Hypervisor.Type+"\n")
		p.write("sys/hypervisor/uuid", m.Hypervisor.UUID+"\n")
	}
	p.write("proc/cmdline", strings.Join(m.KernelArguments, " ")+"\n")
	for _, label := range m.DiskLabels {
		p.write("dev/disk/by-label/"+label, "")
	}
}

// systemd takes a mount unit only where its name is its path, and the script finds the images bound only where it has waited for that.
func TestMountUnits(t *testing.T) {
	for name, files := range map[string][]embed.File{"system": Release{Platforms: some}.System(), "initramfs": Initrd()} {
		units := map[string]string{}
		for _, f := range files {
			if f.Target == "" {
				units[filepath.Base(f.Path)] = string(f.Content)
			}
		}
		mounts := 0
		for unit, content := range units {
			path, isMount := strings.CutSuffix(unit, ".mount")
			if !isMount {
				continue
			}
			mounts++
			if where := "\nWhere=/" + strings.ReplaceAll(path, "-", "/") + "\n"; !strings.Contains(content, where) {
				t.Errorf("%s: %s is\n%s", name, unit, content)
			}
			for _, key := range []string{"Wants=", "After="} {
				if !slices.ContainsFunc(strings.Split(units[Unit], "\n"), func(line string) bool {
					return strings.HasPrefix(line, key) && slices.Contains(strings.Fields(strings.TrimPrefix(line, key)), unit)
				}) {
					t.Errorf("%s: the unit that links has no %s%s:\n%s", name, key, unit, units[Unit])
				}
			}
		}
		if want := map[string]int{"system": 1, "initramfs": 2}[name]; mounts != want {
			t.Errorf("%s: %d mounts; wanted %d", name, mounts, want)
		}
	}
}
