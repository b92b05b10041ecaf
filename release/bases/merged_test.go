package bases

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/setup"
)

// TestExtensionsThatTheBaseMerges reads the images that the default /etc links, and no others.
func TestExtensionsThatTheBaseMerges(t *testing.T) {
	tools := toolroottest.Open(t)
	blobs, err := store.OpenBlobs(t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	results, err := store.OpenResults(t.TempDir(), blobs, nil)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	bench := &setup.Bench{Tools: tools, Blobs: blobs, Results: results, Scratch: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))}
	usr := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	images := filepath.Join(usr, "share/flatcar/sysext")
	links := filepath.Join(usr, "share/flatcar/etc/extensions")
	for _, name := range []string{"docker-flatcar", "zfs-flatcar"} {
		dir := filepath.Join(t.TempDir(), "root")
		write(filepath.Join(dir, "usr/lib/systemd/system", name+".service"), "[Service]\nExecStart=/usr/bin/"+name+"\n")
		write(filepath.Join(dir, "opt/x"), "x")
		if err := os.MkdirAll(images, 0o755); err != nil {
			t.Fatal(err)
		}
		err := tools.Run(t.Context(), toolroot.Cmd{Program: "mksquashfs", Args: []string{dir, filepath.Join(images, name+".raw"), "-quiet", "-no-progress"}, Read: []string{dir}, Write: []string{images}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(links, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"docker-flatcar.raw": "/usr/share/flatcar/sysext/docker-flatcar.raw", "mine.raw": "/opt/mine.raw"} {
		if err := os.Symlink(target, filepath.Join(links, name)); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (tree.Tree, error) {
		scanned, err := tree.Scan(usr, digest.OfReader)
		if err != nil {
			t.Fatal(err)
		}
		return merged(t.Context(), bench, usr, scanned.Below("/usr"))
	}
	got, err := read()
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range got {
		if e.Type == tree.File {
			files = append(files, e.Path)
			if !blobs.Has(e.SHA256, e.Size) {
				t.Errorf("no content of %s", e.Path)
			}
		}
	}
	if diff := cmp.Diff([]string{"/usr/lib/systemd/system/docker-flatcar.service"}, files); diff != "" || got.HasParents() != nil {
		t.Error(diff, got.HasParents())
	}
	write(filepath.Join(images, "docker-flatcar.raw"), "neither")
	if got, err := read(); err != nil || len(got) > 0 || !strings.Contains(log.String(), "is neither a squashfs image nor a disk with one") {
		t.Errorf("%v, %v; the log says %s", got, err, log.String())
	}
}
