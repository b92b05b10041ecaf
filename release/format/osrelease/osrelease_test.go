package osrelease

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const flatcar = `NAME="Flatcar Container Linux by Kinvolk"
ID=flatcar
ID_LIKE=coreos
VERSION=4593.2.1
VERSION_ID=4593.2.1
BUILD_ID=2026-05-12-1821
SYSEXT_LEVEL=1.0
PRETTY_NAME="Flatcar Container Linux by Kinvolk 4593.2.1 (Oklo)"
ANSI_COLOR="38;5;75"
# a comment

FLATCAR_BOARD="amd64-usr"
CPE_NAME='cpe:2.3:o:flatcar-linux:flatcar_linux:4593.2.1:*:*:*:*:*:*:*'
ESCAPED="a \"b\" \$c \\ \d"
`

func TestParse(t *testing.T) {
	got, err := Parse([]byte(flatcar))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"NAME": "Flatcar Container Linux by Kinvolk", "ID": "flatcar", "ID_LIKE": "coreos", "VERSION": "4593.2.1",
		"VERSION_ID": "4593.2.1", "BUILD_ID": "2026-05-12-1821", "SYSEXT_LEVEL": "1.0", "ANSI_COLOR": "38;5;75",
		"PRETTY_NAME": "Flatcar Container Linux by Kinvolk 4593.2.1 (Oklo)", "FLATCAR_BOARD": "amd64-usr",
		"CPE_NAME": "cpe:2.3:o:flatcar-linux:flatcar_linux:4593.2.1:*:*:*:*:*:*:*", "ESCAPED": `a "b" $c \ \d`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestShellAgrees reads the same file with a real shell.
func TestShellAgrees(t *testing.T) {
	values, err := Parse([]byte(flatcar))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range values {
		cmd := exec.Command("/bin/sh", "-c", flatcar+"\nprintf %s \"$"+name+"\"")
		got, err := cmd.Output()
		if err != nil || string(got) != want {
			t.Errorf("%s: the shell has %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for content, want := range map[string]string{
		"ID=flatcar\nnonsense":        "line 2",
		"1ID=x":                       "wanted NAME=VALUE",
		`A="x`:                        "ends within quotes",
		`A=x\`:                        "ends within quotes",
		`A="x"y`:                      "follows the closing quote",
		`A=x"y"`:                      "a quote within",
		"A=$(reboot)":                 "has a special meaning in a shell",
		"A=`reboot`":                  "has a special meaning in a shell",
		`A="$HOME"`:                   "has a special meaning in a shell",
		"A=x;reboot":                  "has a special meaning in a shell",
		"A=\xa1":                      "not UTF-8",
		"A=1\nA=2":                    "line 2: A is there twice",
		"A=1\r\nB=2\n":                "has line breaks of another system",
		"A=1\nB=\"\x1b[2J\"":          "line 2: B: \"\\x1b[2J\" has control characters",
		"A='\u202e'":                  "has control characters",
		"ID=Flatcar":                  "line 1: ID is \"Flatcar\"; wanted lower-case",
		"VERSION_ID=\"1 2\"":          "VERSION_ID is \"1 2\"",
		strings.Repeat("#", 64<<10+1): "wanted at most 65536",
	} {
		if got, err := Parse([]byte(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, %v; want %q", content, got, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(flatcar))
	f.Add([]byte("A=\xa1\xa1"))
	f.Add([]byte("A='b'\nC=\"\\\"\"\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		values, err := Parse(content)
		for name, value := range values {
			if err != nil || len(name) == 0 || len(value) > len(content) {
				t.Fatalf("%q=%q, %v", name, value, err)
			}
		}
	})
}
