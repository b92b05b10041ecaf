package compose_test

import (
	"archive/tar"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/partition/integrate"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/plan/compose"
	"github.com/flatcar/oem-sysext/release/plan/compose/extension/extensiontest"
	"github.com/flatcar/oem-sysext/release/profiles"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

func TestMain(m *testing.M) { testrelease.Main(m) }

// program is an extension with a script of a name.
func program(name, says string) []extensiontest.Entry {
	return []extensiontest.Entry{
		{Path: "usr/", Type: tar.TypeDir}, {Path: "usr/bin/", Type: tar.TypeDir}, {Path: "usr/lib/", Type: tar.TypeDir},
		{Path: "usr/lib/extension-release.d/", Type: tar.TypeDir}, extensiontest.Release(name),
		{Path: "usr/bin/" + name, Mode: 0o755, Content: "#!/bin/sh\necho " + says + "\n"},
		{Path: "usr/bin/" + name + "-alias", Target: name},
	}
}

// What is hostile is refused with the entry named, and so is what would not work or not go together.
func TestHostileExtensions(t *testing.T) {
	dir := t.TempDir()
	good := program("good", "good")
	with := func(e ...extensiontest.Entry) []extensiontest.Entry { return slices.Concat(good, e) }
	releaseOf := func(content string) []extensiontest.Entry {
		changed := slices.Clone(good)
		changed[4].Content = content
		return changed
	}
	cases := map[string][]extensiontest.Entry{
		`"/usr/bin/new\nline" has a name that cannot be printed`:                        with(extensiontest.Entry{Path: "usr/bin/new\nline"}),
		"/usr/lib/os-release makes systemd refuse the image":                            with(extensiontest.Entry{Path: "usr/lib/os-release", Content: "ID=evil\n"}),
		"/usr/bin/su2 has mode 4755":                                                    with(extensiontest.Entry{Path: "usr/bin/su2", Mode: 0o4755}),
		"/usr/lib/hidden":                                                               with(extensiontest.Entry{Path: "usr/lib/hidden/", Type: tar.TypeDir, Xattrs: map[string]string{"trusted.overlay.opaque": "y"}}),
		"/usr/lib/hid has the xattr user.overlay.opaque":                                with(extensiontest.Entry{Path: "usr/lib/hid/", Type: tar.TypeDir, Xattrs: map[string]string{"user.overlay.opaque": "y"}}),
		`/usr/bin/out is a link to "../../../../etc/shadow"`:                            with(extensiontest.Entry{Path: "usr/bin/out", Target: "../../../../etc/shadow"}),
		`/usr/bin/root is a link to "/root/.ssh"`:                                       with(extensiontest.Entry{Path: "usr/bin/root", Target: "/root/.ssh"}),
		"/usr/bin/env differs from the base's":                                          with(extensiontest.Entry{Path: "usr/bin/env", Content: "mine"}),
		"/etc/passwd is outside /usr and /opt":                                          with(extensiontest.Entry{Path: "etc/", Type: tar.TypeDir}, extensiontest.Entry{Path: "etc/passwd"}),
		"/usr/bin/lost wants the interpreter /usr/bin/nope":                             with(extensiontest.Entry{Path: "usr/bin/lost", Mode: 0o755, Content: "#!/usr/bin/nope\n"}),
		"is for ID=fedora":                                                              releaseOf("ID=fedora\nVERSION_ID=1\n"),
		`"/usr/bin/oem-sysext" hides /usr/bin/oem-sysext, which belongs to the release`: with(extensiontest.Entry{Path: "usr/bin/oem-sysext", Mode: 0o755}),
		"was built for VERSION_ID=1.2.3; the base is flatcar 9999.0.0":                  releaseOf("ID=flatcar\nVERSION_ID=1.2.3\n"),
		"wanted the one file /usr/lib/extension-release.d/extension-release.good":       program("bad", "bad"),
	}
	o := testrelease.Composing(t, dir, "- {name: good, file: mine.yaml, enable: always}\n")
	w, err := release.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Bench.Close()
	factory, err := w.Factory()
	if err != nil {
		t.Fatal(err)
	}
	base := *w.Base
	c, err := compose.New(w.Bench, w.Choice, &base, factory, []string{"/usr/bin/oem-sysext"})
	if err != nil {
		t.Fatal(err)
	}
	x := w.Choice.Profile.Extensions[0]
	x.File.Value = "image.raw"
	judge := func(filesystem string, entries []extensiontest.Entry) error {
		os.Remove(filepath.Join(dir, "image.raw"))
		extensiontest.Image(t, w.Bench.Tools, filesystem, filepath.Join(dir, "image.raw"), entries...)
		return c.One(t.Context(), &x)
	}
	for _, filesystem := range []string{extensiontest.SquashFS, extensiontest.EROFS, extensiontest.Compressed} {
		if err := judge(filesystem, good); err != nil {
			t.Errorf("what is fine is refused: %v", err)
		}
		for want, entries := range cases {
			if err := judge(filesystem, entries); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error is %v; wanted %q", filesystem, err, want)
			}
		}
	}
	mine := *w.Base.Target
	mine.Usr = tree.Sorted(append(slices.Clone(mine.Usr), tree.Entry{Path: "/usr/share/flatcar/sysext/docker-flatcar.raw", Type: tree.File}))
	base.Target = &mine
	for name, want := range map[string]string{"docker": "its name is taken", "docker-flatcar": "its name is taken", "good": ""} {
		if got := c.Clash(name); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	mine.Kernel = maps.Clone(mine.Kernel)
	delete(mine.Kernel, "SQUASHFS_ZLIB")
	for repack, want := range map[bool]string{false: "needs CONFIG_SQUASHFS_ZLIB, which the base's kernel lacks; set repack: true", true: ""} {
		x.Repack = repack
		if err := judge(extensiontest.SquashFS, good); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("repack: %v: error is %v; wanted %q", repack, err, want)
		}
	}
	base.Target, x.Repack = w.Base.Target, false
	x.Rebuild = &profiles.Rebuild{Command: "make good.raw"}
	if err := judge(extensiontest.SquashFS, releaseOf("ID=flatcar\nVERSION_ID=1.2.3\n")); err == nil || !strings.Contains(err.Error(), "to rebuild it: make good.raw") {
		t.Errorf("error is %v", err)
	}
	x.Rebuild = &profiles.Rebuild{}
	x.Rebuild.Recipe.Value = "tool"
	if err := judge(extensiontest.SquashFS, releaseOf("ID=flatcar\nVERSION_ID=1.2.3\n")); err != nil {
		t.Errorf("the recipe is not taken: %v", err)
	}
}

// TestCompose makes a release with extensions of every kind and looks into its /usr.
func TestCompose(t *testing.T) {
	dir := t.TempDir()
	o := testrelease.Composing(t, dir, `
- {name: by-name, file: by-name.raw, enable: by-name}
- {name: two, version: "1", file: two-1.raw, enable: by-name}
- {name: two, version: "2", file: two-2.raw, enable: by-name, default: true}
- {name: flat, version: "7", file: flat.raw, flatten: true}
- {name: packed, file: packed.raw, repack: true, enable: {platforms: [vagrant]}}
- {name: plain, directory: plain, enable: always}
update: {key: update.pem, server: "https://updates.example.org/v1/update/", group: edge}
`)
	o.UpdateKey = testrelease.UpdateKeys(t, dir)
	tools := toolroottest.Open(t)
	flat := append(program("flat", "flat"), extensiontest.Entry{Path: "usr/share/flat/", Type: tar.TypeDir, Mode: 0o700}, extensiontest.Entry{Path: "usr/share/flat/data", Mode: 0o600, Content: strings.Repeat("x", 100_000)})
	for file, entries := range map[string][]extensiontest.Entry{
		// What only a running machine has is no mistake in an image of others.
		"by-name.raw": append(program("by-name", "hello"), extensiontest.Entry{Path: "usr/bin/by-name-plugin", Target: "/var/lib/by-name/plugin"}),
		"two-1.raw":   program("two", "one"), "two-2.raw": program("two", "two"),
		"flat.raw": flat, "packed.raw": program("packed", "packed"),
	} {
		filesystem := extensiontest.SquashFS
		if file == "two-2.raw" || file == "flat.raw" {
			filesystem = extensiontest.EROFS
		}
		extensiontest.Image(t, tools, filesystem, filepath.Join(dir, file), entries...)
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "plain/usr/bin"), 0o755), os.WriteFile(filepath.Join(dir, "plain/usr/bin/plain"), []byte("#!/bin/sh\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	r, err := release.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Bench.Close()
	w := &composedRelease{Run: r}
	if w.planned, err = r.Planner().Plan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.made, err = partition.Embed(t.Context(), r.Bench, r.Base, w.planned.Flat, w.planned.Content); err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, m := range ship.DescribePlan(&profiles.Profile{Name: "mine"}, w.planned).Extensions {
		told = append(told, strings.Join(append([]string{m.Name, m.Version, m.Enable, m.Embedded, fmt.Sprint(m.AsIs)}, m.Platforms...), " "))
	}
	const images = embed.Dir + "/"
	want := []string{
		"by-name  by-name " + images + "by-name.raw true",
		"two 1 by-name " + images + "two.raw.v/two_1.raw true",
		"two 2 by-name " + images + "two.raw.v/two_2.raw true",
		"flat 7   false",
		"packed  platforms " + images + "packed.raw false vagrant",
		"plain  always " + images + "plain.raw false",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
	if fixed := w.planned.Budgets[0].Fixed; fixed < 4*size.KiB || fixed != w.planned.Empty.Free-w.planned.Flat.Free {
		t.Errorf("what is flattened counts with %v; /usr had %v free, and has %v", fixed, w.planned.Empty.Free, w.planned.Flat.Free)
	}
	w.lookInto(t, dir)
	w.verifiesItsUpdates(t, dir)
}

// composedRelease is a release of extensions.
type composedRelease struct {
	*release.Run
	planned *plan.Planned
	made    partition.Partition
}

// lookInto compares a release's /usr with what should be in it.
func (w *composedRelease) lookInto(t *testing.T, dir string) {
	t.Helper()
	err := btrfs.View(t.Context(), w.Bench.Blobs.Path(w.made.SHA256), func(mounted string) error {
		for file, original := range map[string]string{"by-name.raw": "by-name.raw", "two.raw.v/two_1.raw": "two-1.raw", "two.raw.v/two_2.raw": "two-2.raw"} {
			want, _, err := digest.OfFile(filepath.Join(dir, original))
			if err != nil {
				return err
			}
			if got, _, err := digest.OfFile(filepath.Join(mounted, embed.Dir, file)); err != nil || got != want {
				t.Errorf("%s is not byte for byte what it came as: %v", file, err)
			}
		}
		content, err := os.ReadFile(filepath.Join(mounted, "lib/os-release"))
		if err != nil || !strings.Contains(string(content), "\nSYSEXT_FLATTENED=\"flat_7\"\n") {
			t.Errorf("os-release is %s, %v", content, err)
		}
		var usr tree.Tree
		for _, dir := range []string{"bin", "lib", "share"} { // mounted itself is a link, which is not walked
			scanned, err := tree.Scan(filepath.Join(mounted, dir), digest.OfReader)
			if err != nil {
				return err
			}
			for _, e := range scanned {
				delete(e.Xattrs, "btrfs.compression") // the file system's own
			}
			usr, _ = tree.Merge(usr, scanned.Below("/usr/"+dir))
		}
		w.mergedView(t, usr)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// mergedView compares what is in /usr with the base's under the files of flattened extensions: each of these is there as a merge
// of the extension would show it, and nothing else is but what makes images be found.
func (w *composedRelease) mergedView(t *testing.T, usr tree.Tree) {
	t.Helper()
	want := w.Base.Target.Usr
	for _, x := range w.planned.Extensions {
		if x.Flatten {
			var differ []tree.Conflict
			if want, differ = tree.Merge(want, x.Tree); len(differ) > 0 {
				t.Errorf("base and %s have %v", x.Name, differ)
			}
		}
	}
	own := map[string]bool{"/usr/" + "lib/os-release": true}
	for _, f := range w.planned.Content.Trust.Files("") {
		own["/usr/"+f.Path] = true
	}
	for _, path := range slices.Concat(activate.Paths(), integrate.Postinst.Paths, []string{integrate.Hook, filepath.Dir(integrate.Hook)}) {
		own["/usr/"+path] = true
	}
	for _, path := range w.planned.Content.Updates.Paths() {
		own["/usr/"+path], own["/usr/"+filepath.Dir(path)] = true, true
	}
	ours := func(e tree.Entry) bool {
		scanned := strings.HasPrefix(e.Path, "/usr/bin/") || strings.HasPrefix(e.Path, "/usr/lib/") || strings.HasPrefix(e.Path, "/usr/share/")
		return scanned && !own[e.Path] && !strings.HasPrefix(e.Path, "/usr/"+embed.Dir)
	}
	if diff := cmp.Diff(want.Filter(ours).Listing(), usr.Filter(ours).Listing()); diff != "" {
		t.Errorf("the merged view (-) and what was flattened (+):\n%s", diff)
	}
}

// verifiesItsUpdates takes a release's key and configuration out of its /usr, as update_engine reads them, and verifies with that key a
// payload that the release comes with.
func (w *composedRelease) verifiesItsUpdates(t *testing.T, dir string) {
	t.Helper()
	key := filepath.Join(dir, "from-usr.pem")
	err := btrfs.View(t.Context(), w.Bench.Blobs.Path(w.made.SHA256), func(mounted string) error {
		conf, err := os.ReadFile(filepath.Join(mounted, "share/flatcar/update.conf"))
		if err != nil {
			return err
		}
		if diff := cmp.Diff("SERVER=https://updates.example.org/v1/update/\nGROUP=edge\n", string(conf)); diff != "" {
			t.Errorf("update.conf: %s", diff)
		}
		content, err := os.ReadFile(filepath.Join(mounted, "share/update_engine/update-payload-key.pub.pem"))
		if err != nil {
			return err
		}
		return os.WriteFile(key, content, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	shipper := w.Shipper(setup.Options{})
	kernel, err := shipper.Kernel(t.Context(), w.made)
	if err != nil {
		t.Fatal(err)
	}
	m, err := shipper.Describe(t.Context(), w.planned, w.made, kernel)
	if err != nil {
		t.Fatal(err)
	}
	payload := w.Bench.Blobs.Path(m.File("oem-vagrant.gz").SHA256)
	if err := ship.VerifyPayload(t.Context(), payload, key, "", io.Discard); err != nil {
		t.Error(err)
	}
	other := testrelease.UpdateKeys(t, t.TempDir())
	if err := ship.VerifyPayload(t.Context(), payload, testrelease.PublicHalf(other), "", io.Discard); err == nil {
		t.Error("a payload verifies with another key")
	}
	content, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := pem.Decode(content)
	if got := m.Update; got.Key != digest.Of(want.Bytes) || got.Server != w.Choice.Profile.Update.Server.Value || got.Group != "edge" {
		t.Errorf("the manifest says %+v", got)
	}
}
