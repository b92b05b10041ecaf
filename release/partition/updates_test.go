package partition

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// What the base says of updates stays, but for what the profile says.
func TestUpdateConf(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "share/flatcar"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, UpdateConfPath), []byte("SERVER=https://public.example/v1/update/\nREBOOT_STRATEGY=off\nGROUP=stable"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, set := range map[string]profiles.Update{
		"SERVER=https://public.example/v1/update/\nREBOOT_STRATEGY=off\nGROUP=edge\n":   {Group: text("edge")},
		"REBOOT_STRATEGY=off\nGROUP=stable\nSERVER=https://mine.example/v1/update/\n":   {Server: text("https://mine.example/v1/update/")},
		"REBOOT_STRATEGY=off\nSERVER=https://mine.example/v1/update/\nGROUP=5b810680\n": {Server: text("https://mine.example/v1/update/"), Group: text("5b810680")},
	} {
		b := &bases.Base{Base: base.Base{Usr: dir}, Target: &target.Base{}}
		files, err := Updates{Profile: &set}.files(b)
		if err != nil || len(files) != 1 || string(files[0].Content) != want || files[0].Path != UpdateConfPath {
			t.Errorf("%+v, %v; wanted %s", files, err, want)
		}
	}
	b := &bases.Base{Target: &target.Base{Usr: tree.Tree{{Path: "/usr/" + UpdateConfPath, Type: tree.Symlink, Target: "/etc/passwd"}}}}
	if _, err := (Updates{Profile: &profiles.Update{Group: text("edge")}}).files(b); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("error is %v", err)
	}
}

// Nothing of the base is replaced that the profile does not name.
func TestNoUpdates(t *testing.T) {
	for name, u := range map[string]Updates{"none": {}, "empty": {Profile: &profiles.Update{}}} {
		if files, err := u.files(&bases.Base{}); err != nil || len(files) > 0 {
			t.Errorf("%s: %+v, %v", name, files, err)
		}
	}
}

func text(value string) strictyaml.Text { return strictyaml.Text{Value: value} }
