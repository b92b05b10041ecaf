package build

import (
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/arch"
)

func TestFilesInEtc(t *testing.T) {
	const unit = "files/usr/lib/systemd/system/tool.service"
	for name, c := range map[string]struct {
		recipe string
		files  []string
		says   string
	}{
		"named by its path": {files: []string{"files/etc/tool.conf", "", "files/usr/sbin/toold", "#!/bin/sh\n. /etc/tool.conf\n"},
			says: "recipes/tool/recipe.yaml: tool.service starts /sbin/toold, which reads /etc/tool.conf; no image has files in /etc: move:"},
		"named by its directory": {files: []string{"files/etc/tool/a/b.conf", "", "files/etc/tool/c", "", "files/usr/sbin/toold", "\x7fELF\x00/etc/tool\x00"},
			says: "which reads /etc/tool/a/b.conf, /etc/tool/c; no image"},
		"another path":               {files: []string{"files/etc/tool.conf", "", "files/usr/sbin/toold", "/etc/tool.conf.old /etc/tool.confd"}},
		"a directory of all":         {files: []string{"files/etc/logrotate.d/tool", "", "files/usr/sbin/toold", "/etc/logrotate.d"}},
		"documentation":              {files: []string{"files/etc/tool/README", "", "files/etc/tool/a.conf.example", "", "files/usr/sbin/toold", "/etc/tool"}},
		"of no service":              {files: []string{"files/etc/tool.conf", "", "files/usr/bin/tool", "/etc/tool.conf"}},
		"made by a line":             {files: []string{"files/etc/tool/tool.conf", "", "files/usr/sbin/toold", "/etc/tool/tool.conf", "files/usr/lib/tmpfiles.d/a.conf", "C /etc/tool - - - - /usr/share/tool\n"}},
		"the service does without":   {recipe: "prune: [/etc/tool]\n", files: []string{"files/etc/tool/tool.conf", "", "files/usr/sbin/toold", "/etc/tool/tool.conf"}},
		"a module of authentication": {files: []string{"files/etc/pam.d/tool", ""}, says: "no image has /etc/pam.d/tool; write move: {/etc/pam.d/tool: /usr/lib/pam.d/tool}"},
		"which has another place":    {files: []string{"files/etc/pam.d/tool", "", "files/usr/lib/pam.d/tool", ""}},
		"which nothing needs":        {recipe: "prune: [/etc/pam.d/tool]\n", files: []string{"files/etc/pam.d/tool", ""}},
	} {
		files := append(c.files, unit, "[Service]\nExecStartPre=-/bin/false\nExecStart=!/sbin/toold -f\n")
		b, r := builder(t, checkout(t, "files: files\n"+c.recipe, files...))
		got, err := made(t, b, r, arch.AMD64)
		if c.says == "" && (err != nil || got.At("/etc") != nil) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: error is %v; wanted %q", name, err, c.says)
		}
	}
}

// An archive's files in /etc count, and move: is an answer.
func TestFilesInEtcOfAnArchive(t *testing.T) {
	m := newMirror(t)
	content := tgz(t, "etc/pam.d/tool")
	m.files["/tool-1.0-x86_64"] = content
	source := urlSource(m, content, "")
	b, _ := m.over(t, checkout(t, source))
	if _, err := files(t, b); err == nil || !strings.Contains(err.Error(), "no image has /etc/pam.d/tool") {
		t.Errorf("error is %v", err)
	}
	b, _ = m.over(t, checkout(t, source+"move: {/etc/pam.d/tool: /usr/lib/pam.d/tool}\n"))
	if got, err := files(t, b); err != nil || !strings.HasPrefix(got, "/usr/lib/pam.d/tool") {
		t.Errorf("%q, %v", got, err)
	}
}
