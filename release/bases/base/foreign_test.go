package base

import (
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

func TestFinishForeign(t *testing.T) {
	dir := write(t, map[string]string{
		"usr/share/base-passwd/passwd.master": "root:x:0:0::/root:/bin/sh\n",
		"usr/share/base-passwd/group.master":  "root:x:0:\n",
		"usr/lib/os-release":                  "ID=debian\n",
		"usr/bin/dash":                        "\x7fELF",
		"usr/bin/ucf":                         "#!/usr/bin/perl\n",
		"etc/cron.d/x":                        "",
	})
	def := Definition{ID: "trixie", Prune: []string{"etc/cron.*", "etc/made-by-a-script"}, Links: []Link{{Path: "usr/bin/sh", Target: "dash"}}}
	if err := finishForeign(def, dir, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	found := "\n" + strings.Join(list(t, dir), "\n") + "\n"
	for _, name := range []string{"usr/share/flatcar/etc/passwd", "usr/share/flatcar/etc/group", "usr/bin/sh", "usr/lib/os-release"} {
		if !strings.Contains(found, "\n"+name+"\n") {
			t.Errorf("no %s in%s", name, found)
		}
	}
	for _, name := range []string{"usr/bin/ucf", "cron.d"} {
		if strings.Contains(found, name) {
			t.Errorf("%s is left in%s", name, found)
		}
	}
}

// What a stanza says is what closures ask of a base.
func TestStanzaIsRead(t *testing.T) {
	text := stanza(debian.Package{Name: "gawk", Version: "1:5.2-1", Architecture: "arm64"}, debian.Control{"provides": "awk", "multi-arch": "foreign"})
	installed, err := debian.ParseStatus(strings.NewReader(text + stanza(debian.Package{Name: "zlib", Version: "1", Architecture: "all"}, nil)))
	if err != nil || installed.Version("gawk") != "1:5.2-1" || installed.Version("zlib") != "1" {
		t.Errorf("read %v, %v from\n%s", installed, err, text)
	}
}

func TestIsExcluded(t *testing.T) {
	def := Definition{Exclude: []string{"/usr/share/doc/*"}}
	if !isExcluded(def, "/usr/share/doc/x/y") || isExcluded(def, "/usr/share/doc-base") || isExcluded(def, "/usr/share/x") {
		t.Error("wrong things are excluded")
	}
}
