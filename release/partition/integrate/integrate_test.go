package integrate

import (
	"os"
	"strings"
	"testing"
)

// standIns are where the reference bases have scripts of their own in the place of Flatcar's.
const standIns = "../../bases/base/files/"

func standIn(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(standIns + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// A script gets the lines once, before the statement that asks for the image, and nothing else changes.
func TestEdit(t *testing.T) {
	for name, s := range map[string]Script{
		"root/usr/bin/flatcar-postinst":                    Postinst,
		"initrd/usr/sbin/initrd-setup-root-after-ignition": AfterIgnition,
	} {
		script := standIn(t, name)
		edited, err := s.Edit(name, []byte(script))
		if err != nil {
			t.Fatal(err)
		}
		before, after, found := strings.Cut(string(edited), begin+s.Lines+end)
		if !found || before+after != script || !strings.HasPrefix(after, "if ") {
			t.Errorf("%s: it has become\n%s", name, edited)
		}
		if removed := Remove(edited); string(removed) != script {
			t.Errorf("%s: without the lines it is\n%s", name, removed)
		}
		again, err := s.Edit(name, edited)
		if err != nil || string(again) != string(edited) {
			t.Errorf("%s: edited once more it is\n%s\n%v", name, again, err)
		}
		older := strings.Replace(string(edited), s.Lines, "true # of an earlier release\n", 1)
		if again, err := s.Edit(name, []byte(older)); err != nil || string(again) != string(edited) {
			t.Errorf("%s: what an earlier release has added becomes\n%s\n%v", name, again, err)
		}
	}
}

// Nothing is guessed: a script in another form is refused, with what was found and what to do.
func TestOtherForms(t *testing.T) {
	script := standIn(t, "root/usr/bin/flatcar-postinst")
	at := strings.Index(script, "if [ -n \"$OEMID\" ] && {")
	asks := script[at : at+strings.Index(script[at:], "\n")+1]
	for name, c := range map[string]struct{ script, says string }{
		"empty":                    {"", "line 1"},
		"a program":                {"\x7fELF\x02", "line 1"},
		"another language":         {"#!/usr/bin/python3\n", "line 1"},
		"nobody asks":              {strings.Replace(script, asks, "if false; then\n", 1), "no line asks"},
		"two ask":                  {script + asks + "fi\n", "lines "},
		"within another statement": {strings.Replace(script, asks, "\t"+asks, 1), "no line asks"},
		"a line that goes on":      {strings.Replace(script, asks, "true && \\\n"+asks, 1), "goes on"},
		"variable set later":       {strings.Replace(script, "OEM_MNT=/oem\n", "", 1) + "OEM_MNT=/oem\n", "OEM_MNT is not set"},
		"variable of another name": {strings.ReplaceAll(script, "OEMID", "ID_OF_OEM"), "no line asks"},
	} {
		t.Run(name, func(t *testing.T) {
			edited, err := Postinst.Edit("/usr/bin/flatcar-postinst", []byte(c.script))
			if err == nil {
				t.Fatalf("it is accepted:\n%s", edited)
			}
			for _, want := range []string{"/usr/bin/flatcar-postinst: ", c.says, "INTEGRATE=0"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error is %q; wanted %q in it", err, want)
				}
			}
		})
	}
}
