package vm

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/google/go-cmp/cmp"
)

func sound() Report {
	return Report{
		State: "running", MultiUser: "active", Usr: "/dev/mapper/usr", Verity: "verified",
		Merged: []string{"oem-azure"}, OSRelease: map[string]string{"ID": "flatcar", "VERSION_ID": "1.0.0"},
	}
}

func TestCheck(t *testing.T) {
	if err := sound().Check("1.0.0", []string{"oem-azure"}); err != nil {
		t.Error(err)
	}
	for wanted, spoil := range map[string]func(*Report){
		"the system is \"degraded\"":         func(r *Report) { r.State = "degraded" },
		"multi-user.target is \"inactive\"":  func(r *Report) { r.MultiUser = "inactive" },
		"failed units: [a.service]":          func(r *Report) { r.Failed = []string{"a.service"} },
		"the device of /usr is \"/dev/vda\"": func(r *Report) { r.Usr = "/dev/vda" },
		"verity is \"corrupted\"":            func(r *Report) { r.Verity = "corrupted" },
		"merged images are []":               func(r *Report) { r.Merged = nil },
		"ID is \"debian\"":                   func(r *Report) { r.OSRelease["ID"] = "debian" },
		"VERSION_ID is \"2.0.0\"":            func(r *Report) { r.OSRelease["VERSION_ID"] = "2.0.0" },
	} {
		r := sound()
		spoil(&r)
		err := r.Check("1.0.0", []string{"oem-azure"})
		if err == nil || !strings.HasPrefix(err.Error(), wanted) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v; wanted %q alone", err, wanted)
		}
	}
}

func TestTableLine(t *testing.T) {
	p := UsrA("usr.bin")
	p.Size = size.GiB
	want := `3: start=2048, size=2097152, type=` + disks.UsrType + `, name="USR-A", uuid=` + disks.UsrAUUID + `, attrs="GUID:48,56"`
	if got := p.tableLine(size.MiB); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Programs of other users have to get to files below the root directory.
func TestRootIsForEverybody(t *testing.T) {
	tools := toolroottest.Open(t)
	image := filepath.Join(t.TempDir(), "root.img")
	if _, err := Root(t.Context(), tools, image, map[string]string{"etc/hostname": "machine\n"}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := tools.Run(t.Context(), toolroot.Cmd{Program: "btrfs", Args: []string{"inspect-internal", "dump-tree", "-t", "5", image}, Read: []string{image}, Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	const rootDirectory = "key (256 INODE_ITEM 0)" // btrfs' BTRFS_FIRST_FREE_OBJECTID
	_, item, _ := strings.Cut(out.String(), rootDirectory)
	if mode := regexp.MustCompile(`mode (\d+)`).FindString(item); mode != "mode 40755" {
		t.Errorf("the root directory has %s; wanted mode 40755", mode)
	}
}

func TestCopySparse(t *testing.T) {
	content := make([]byte, 5*size.MiB+17)
	content[0], content[2*size.MiB], content[len(content)-1] = 1, 2, 3
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, content, 0o644); err != nil {
		t.Fatal(err)
	}
	disk, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := copySparse(disk, size.MiB, image); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(content))
	if _, err := disk.ReadAt(got, int64(size.MiB)); err != nil || string(got) != string(content) {
		t.Errorf("the copy differs (%v)", err)
	}
}

func TestProgressNamesTheLastLine(t *testing.T) {
	console := filepath.Join(t.TempDir(), "console.log")
	if err := os.WriteFile(console, []byte("a\r\n[  OK  ] Reached target b.\r\n\r\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := progress(console); !strings.HasSuffix(got, "is: [  OK  ] Reached target b.") {
		t.Error(got)
	}
}

func TestFollowSaysEachLastLineOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		console := filepath.Join(t.TempDir(), "console.log") // not there yet, as at a machine's start
		var said []string
		failure := errors.New("the machine's")
		err := follow(console, func(line string) { said = append(said, line) }, func() error {
			time.Sleep(waitingInterval / 2)
			for _, content := range []string{"a\n", "a\nb\n", "a\nb\n\n", "c\n"} {
				time.Sleep(2 * waitingInterval)
				if err := os.WriteFile(console, []byte(content), 0o644); err != nil {
					return err
				}
			}
			return failure // what it wrote at last nobody has to be told
		})
		if wanted := []string{"a", "b"}; !errors.Is(err, failure) || !slices.Equal(said, wanted) {
			t.Errorf("it said %q and returned %v; wanted %q and %v", said, err, wanted, failure)
		}
	})
}

// TestWatch says that one who watches a console gets its lines while the machine runs, whole ones, and none of an earlier boot's.
func TestWatch(t *testing.T) {
	console, failure := filepath.Join(t.TempDir(), "console"), errors.New("ended")
	if err := os.WriteFile(console, []byte("of an earlier boot\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var said []string
		err := watch(console, func(line string) { said = append(said, line) }, func() error {
			time.Sleep(2 * watchInterval)
			f, err := os.OpenFile(console, os.O_WRONLY|os.O_TRUNC, 0) // as QEMU does
			if err != nil {
				return err
			}
			defer f.Close()
			for i, text := range []string{"a\r\nb", "c\n", "\n[  OK  ] d\n", "left"} {
				if _, err := f.WriteString(text); err != nil {
					return err
				}
				time.Sleep(2 * watchInterval)
				synctest.Wait()
				if wanted := []int{1, 2, 4, 4}[i]; len(said) != wanted {
					t.Errorf("after %q it said %q; wanted %d lines", text, said, wanted)
				}
			}
			return failure
		})
		if wanted := []string{"a", "bc", "", "[  OK  ] d"}; !errors.Is(err, failure) || !slices.Equal(said, wanted) {
			t.Errorf("it said %q and returned %v; wanted %q and %v", said, err, wanted, failure)
		}
	})
}

func TestImagesOfTheBaseAreLeftOut(t *testing.T) {
	r := Report{
		Own: map[string]string{
			"docker-flatcar": "/usr/share/flatcar/sysext/docker-flatcar.raw", "00-flatcar-default": "/usr/lib/confexts/00-flatcar-default.raw",
			"bootengine.img": "/usr/lib/flatcar/bootengine.img",
		},
		Merged:     []string{"docker-flatcar", "oem-azure"},
		Extensions: []string{"extension-release.docker-flatcar", "extension-release.oem-azure"},
		Backing: []string{
			"/lib/flatcar/bootengine.img", "/lib/confexts/00-flatcar-default.raw", "/usr/share/flatcar/sysext/docker-flatcar.raw",
			"/oem/docker-flatcar.raw", "/run/oem/images/oem-azure.raw",
		},
		Foreign: []Attempt{{Merged: []string{"docker-flatcar", "other"}}},
	}
	r.leaveOutOwn()
	want := Report{
		Own: r.Own, Merged: []string{"oem-azure"}, Extensions: []string{"extension-release.oem-azure"},
		Backing: []string{"/oem/docker-flatcar.raw", "/run/oem/images/oem-azure.raw"}, Foreign: []Attempt{{Merged: []string{"other"}}},
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
}
