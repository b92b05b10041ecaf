package activate

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

var more = []Extension{
	{Name: "tool", Versions: []Version{{File: "tool.raw"}}},
	{Name: "core", Always: true, Versions: []Version{{File: "core.raw"}}},
	{Name: "near", Platforms: []string{"azure", "hyperv"}, Versions: []Version{{File: "near.raw"}}},
	{Name: "box", Versions: []Version{{Name: "1.2", File: "box.raw.v/box_1.2.raw"}, {Name: "1.10", File: "box.raw.v/box_1.10.raw", Default: true}}},
}

func withExtensions(t *testing.T) *private {
	p := newPrivate(t, some, more...)
	for _, x := range more {
		for _, v := range x.Versions {
			p.write("usr/"+embed.Dir+"/"+v.File, v.File)
		}
	}
	return p
}

func TestExtensions(t *testing.T) {
	const conf, second = "etc/flatcar/enabled-sysext.conf", "etc/flatcar/oem-sysext.conf"
	const images = "/usr/" + embed.Dir + "/"
	for name, c := range map[string]struct {
		given map[string]string
		links map[string]string // beside core
		says  []string          // beside the line of the cloud
	}{
		"nobody asks":           {nil, nil, []string{"linked core: always in this release"}},
		"by name":               {map[string]string{conf: "# tools\ntool # one\n"}, map[string]string{"tool": "tool.raw"}, []string{"linked tool: tool in /etc/flatcar/enabled-sysext.conf"}},
		"in the second file":    {map[string]string{second: "  tool"}, map[string]string{"tool": "tool.raw"}, []string{"linked tool: tool in /etc/flatcar/oem-sysext.conf"}},
		"and not":               {map[string]string{conf: "tool\n", second: "-tool\n"}, nil, []string{"tool is not linked: -tool in /etc/flatcar/oem-sysext.conf is the user's choice"}},
		"not what is always":    {map[string]string{conf: "-core\n"}, map[string]string{"core": ""}, []string{"core is not linked: -core in"}},
		"on a platform":         {map[string]string{"oem/oem-release": "ID=azure"}, map[string]string{"near": "near.raw", "oem-azure": "oem-azure.raw", "oem-shared-1": "oem-shared-1.raw"}, []string{"linked near: for azure (ID=azure in /oem/oem-release)"}},
		"without its images":    {map[string]string{"oem/oem-release": "ID=hyperv"}, map[string]string{"near": "near.raw"}, []string{"linked near: for hyperv"}},
		"by name elsewhere":     {map[string]string{conf: "near"}, map[string]string{"near": "near.raw"}, []string{"linked near: near in"}},
		"default version":       {map[string]string{conf: "box"}, map[string]string{"box": "box.raw.v/box_1.10.raw"}, []string{"linked box: box in"}},
		"another version":       {map[string]string{conf: "box=1.2"}, map[string]string{"box": "box.raw.v/box_1.2.raw"}, []string{"linked box 1.2: box=1.2 in"}},
		"the last word":         {map[string]string{conf: "box=1.2\nbox"}, map[string]string{"box": "box.raw.v/box_1.10.raw"}, nil},
		"no such version":       {map[string]string{conf: "box=2"}, nil, []string{"box is not linked: this release has no version 2 of it (box=2 in"}},
		"no such name":          {map[string]string{"etc/flatcar/oem-sysext.conf": "nope\ntool"}, map[string]string{"tool": "tool.raw"}, []string{"nope is not in this release (nope in /etc/flatcar/oem-sysext.conf)"}},
		"Flatcar's own":         {map[string]string{conf: "zfs\ntool"}, map[string]string{"tool": "tool.raw"}, nil},
		"mask":                  {map[string]string{conf: "tool", "etc/extensions/tool/": ""}, nil, []string{"tool is not linked: /etc/extensions/tool is the user's choice"}},
		"mask by null":          {map[string]string{"etc/extensions/core.raw": "->/dev/null"}, map[string]string{"core": ""}, []string{"core is not linked: /etc/extensions/core.raw is the user's choice"}},
		"own":                   {map[string]string{conf: "tool", "var/lib/extensions/tool.raw": "mine"}, nil, []string{"tool is not linked: /var/lib/extensions/tool.raw is the user's choice"}},
		"own link":              {map[string]string{"etc/extensions/tool.raw": "->" + images + "tool.raw"}, nil, nil},
		"own link to a version": {map[string]string{conf: "box", "etc/extensions/box.raw": "->" + images + "box.raw.v/box_1.2.raw"}, nil, nil},
		"hostile":               {map[string]string{conf: "$(touch /ran)\n../tool\n*\n`touch /ran`\ntool=../../x\n"}, nil, []string{"linked core"}},
	} {
		for _, shell := range []string{"dash", "bash"} {
			t.Run(name+" in "+shell, func(t *testing.T) {
				p := withExtensions(t)
				p.shell = shell
				p.give(c.given)
				says := p.run()
				for _, line := range c.says {
					if !strings.Contains(says, "\n"+line) {
						t.Errorf("it says\n%s\nwanted a line that begins with %q", says, line)
					}
				}
				want := map[string]string{"core.raw": images + "core.raw"}
				for name, file := range c.links {
					want[name+".raw"] = images + file
					if file == "" {
						delete(want, name+".raw")
					}
				}
				if diff := cmp.Diff(want, p.links("run/extensions")); diff != "" {
					t.Errorf("%s\nit says\n%s", diff, says)
				}
				if again := p.run(); again != says {
					t.Errorf("once more it says\n%s\nat first\n%s", again, says)
				}
				if _, err := os.Stat(filepath.Join(p.dir, "ran")); err == nil {
					t.Error("a command of the machine's words ran")
				}
			})
		}
	}
}

// The command shows what is embedded, enabled and active, and why.
// TestTheSystemSaysTheRest runs the script as an initramfs does, and then as the system does, which has one more wish.
func TestTheSystemSaysTheRest(t *testing.T) {
	p := withExtensions(t)
	p.link("sysroot", ".")
	p.write("etc/flatcar/oem-sysext.conf", "nope\n")
	first := p.run("/sysroot")
	if !strings.Contains(first, "linked core") || !strings.Contains(first, "nope is not in this release") {
		t.Errorf("the initramfs says %q", first)
	}
	p.write("etc/flatcar/oem-sysext.conf", "nope\ntool\n")
	if says := p.run(); says != "linked tool: tool in /etc/flatcar/oem-sysext.conf" {
		t.Errorf("the system says %q", says)
	}
	if says := p.run(); !strings.Contains(says, first[:strings.Index(first, "\n")]) {
		t.Errorf("when it is run again, it says %q", says)
	}
}

func TestShow(t *testing.T) {
	p := withExtensions(t)
	p.give(map[string]string{
		"oem/oem-release": "ID=ami", "etc/flatcar/oem-sysext.conf": "tool\nbox=1.2\n", "etc/extensions/near/": "",
		"usr/.systemd-sysext/extensions": "oem-ami\ncore\nbox\nmine\n",
	})
	p.write("usr/"+Command, string(showScript))
	p.write("bin/unshare", "#!/programs/bin/sh\necho \"No match for 'tool'.\" >&2\necho \"Extension 'tool' is for OS '1', but deployed on top of '2'.\"\necho 'Using extensions: box'\n")
	if text, err := p.status(); err == nil {
		t.Errorf("before anything was decided it says %s", text)
	}
	p.run()
	text, err := p.status()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"oem-ami - yes yes yes ID=ami in /oem/oem-release",
		"oem-azure - yes no no",
		"box 1.2 yes yes yes box=1.2 in /etc/flatcar/oem-sysext.conf",
		"core - yes yes yes always in this release",
		"near - yes no no /etc/extensions/near is the user's choice",
		"tool - yes yes no tool in /etc/flatcar/oem-sysext.conf; linked, but not merged: Extension 'tool' is for OS '1', but deployed on top of '2'.",
		"mine - no - yes the user's own",
	} {
		found := false
		for line := range strings.Lines(text) {
			found = found || strings.HasPrefix(strings.Join(strings.Fields(line), " "), want)
		}
		if !found {
			t.Errorf("it says\n%s\nwanted %q", text, want)
		}
	}
}

func (p *private) status() (string, error) {
	var out bytes.Buffer
	err := run.Run(p.t.Context(), run.Cmd{Program: "bwrap", Args: []string{
		"--unshare-all", "--die-with-parent", "--clearenv", "--setenv", "PATH", "/bin:/programs/bin", "--bind", p.dir, "/", "--dev-bind", "/dev/null", "/dev/null",
		"--ro-bind", tools.Path("usr"), "/programs", "/programs/bin/dash", "/usr/" + Command,
	}, Env: run.HostEnv("PATH"), Stdout: &out})
	return out.String(), err
}
