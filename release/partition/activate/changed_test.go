package activate

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What the initramfs has merged is opened once more only where something is different.
func TestChanged(t *testing.T) {
	const merged, linked = "usr/.systemd-sysext/extensions", "run/extensions/"
	for name, c := range map[string]struct {
		given   map[string]string // after the initramfs
		changed bool
	}{
		"nothing":                          {nil, false},
		"nothing, with an empty directory": {map[string]string{"etc/extensions/": "", "var/lib/extensions/": ""}, false},
		"another order":                    {map[string]string{merged: "oem-shared-1\nbox\noem-azure\ncore\nnear\n"}, false},
		"nothing is merged":                {map[string]string{merged: ""}, true},
		"less is merged":                   {map[string]string{merged: "box\ncore\nnear\noem-azure\n"}, true},
		"more is merged":                   {map[string]string{merged: "box\ncore\nmine\nnear\noem-azure\noem-shared-1\n"}, true},
		"something else is merged":         {map[string]string{merged: "box\ncore\nmine\nnear\noem-shared-1\n"}, true},
		"one more is asked for":            {map[string]string{"etc/flatcar/oem-sysext.conf": "box\ntool\n"}, true},
		"one more is linked":               {map[string]string{linked + "mine.raw": "->/var/mine.raw"}, true},
		"another version is asked for":     {map[string]string{"etc/flatcar/oem-sysext.conf": "box=1.2\n"}, true},
		"another file is in its place":     {map[string]string{linked + "core.raw": "mine"}, true},
		"the user's own":                   {map[string]string{"var/lib/extensions/mine.raw": "mine"}, true},
		"the user's own directory":         {map[string]string{"etc/extensions/mine/": ""}, true},
		"the user's link":                  {map[string]string{"etc/extensions/mine.raw": "->/oem/mine.raw"}, true},
		"a /usr to write to":               {map[string]string{"var/lib/extensions.mutable/usr/": ""}, true},
		"no initramfs has linked":          {map[string]string{"run/oem-sysext.initrd": ""}, true},
	} {
		for _, shell := range []string{"dash", "bash"} {
			t.Run(name+" in "+shell, func(t *testing.T) {
				p := withExtensions(t)
				p.shell = shell
				p.give(map[string]string{
					"usr/" + changed: string(changedScript), "sysroot": "->.", "oem/oem-release": "ID=azure\n", "etc/flatcar/oem-sysext.conf": "box\n",
					merged: "box\ncore\nnear\noem-azure\noem-shared-1\n",
				})
				for _, x := range more {
					p.bind(x.Versions[0].File)
				}
				p.bind("oem-azure.raw", "oem-shared-1.raw", "box.raw.v/box_1.10.raw")
				p.run("/sysroot")
				for name := range c.given {
					if filepath.Dir(name)+"/" == linked {
						_ = os.Remove(filepath.Join(p.dir, name))
					}
				}
				p.give(c.given)
				p.run()
				if is := p.changed(); is != c.changed {
					t.Errorf("it says that something has changed: %v", is)
				}
			})
		}
	}
}

// On a machine whose initramfs does not merge there are none of the files that it looks at.
func TestNothingMergedYet(t *testing.T) {
	p := withExtensions(t)
	p.write("usr/"+changed, string(changedScript))
	p.run()
	if !p.changed() {
		t.Error("it says that there is nothing to merge")
	}
}

// changed is what the script says to systemd-sysext.service.
func (p *private) changed() bool {
	p.t.Helper()
	p.write("run/oem-sysext.unchanged", "") // of an earlier start of the unit
	_, err := p.start(changed)
	var ended *exec.ExitError
	unchanged := errors.As(err, &ended) && ended.ExitCode() == 1
	if err != nil && !unchanged {
		p.t.Fatal(err)
	}
	_, err = os.Stat(filepath.Join(p.dir, "run/oem-sysext.unchanged"))
	if told := err == nil; told != unchanged {
		p.t.Errorf("oem-setup.service is told that nothing has changed: %v", told)
	}
	return !unchanged
}
