package btrfs

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
	"github.com/flatcar/oem-sysext/release/format/btrfs/superblock"
)

var otherUUID = UUID{0xab, 0xcd, 3: 0xef, 15: 2}

// TestSetUUID asks btrfs-progs, blkid and the kernel what a file system with another UUID is.
func TestSetUUID(t *testing.T) {
	needs.Programs(t, "blkid")
	image := testImage(t, testTree(t))
	before, files := content(t, image), viewListing(t, image)
	must(t, SetUUID(image, otherUUID))

	for _, mirror := range []string{"0", "1"} {
		got := superFields(t, image, mirror)
		want := map[string]string{
			"fsid": otherUUID.String(), "metadata_uuid": testUUID.String(), "dev_item.fsid": testUUID.String(), "incompat_flags": "0x755",
		}
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("superblock %s: %s is %s; wanted %s", mirror, name, got[name], want[name])
			}
		}
	}
	id, err := run.Output(t.Context(), run.Cmd{Program: "blkid", Args: []string{"-p", "-o", "value", "-s", "UUID", image}, Env: run.HostEnv("PATH")})
	if err != nil || strings.TrimSpace(string(id)) != otherUUID.String() {
		t.Errorf("blkid says %s, %v; wanted %v", id, err, otherUUID)
	}
	checkImage(t, image)
	if diff := cmp.Diff(files, viewListing(t, image)); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
	if got, want := differing(before, content(t, image)), superblocks(); !maps.Equal(got, want) {
		t.Errorf("blocks %v differ; wanted %v", got, want)
	}

	must(t, ResetUUID(image))
	if !bytes.Equal(content(t, image), before) {
		t.Error("with the UUID that it had, the image has other bytes than before")
	}
}

// superFields are what btrfs-progs sees in a superblock.
func superFields(t *testing.T, image, mirror string) map[string]string {
	t.Helper()
	var dump bytes.Buffer
	must(t, testTools(t).Run(t.Context(), toolroot.Cmd{
		Program: "btrfs", Args: []string{"inspect-internal", "dump-super", "--super", mirror, image}, Read: []string{image}, Stdout: &dump,
	}))
	all := map[string]string{}
	for line := range strings.Lines(dump.String()) {
		if words := strings.Fields(line); len(words) > 1 {
			all[words[0]] = words[1]
		}
		if name, bad := strings.CutSuffix(strings.TrimSpace(line), "[DON'T MATCH]"); bad {
			t.Errorf("superblock %s: btrfs-progs doubts %s", mirror, name)
		}
	}
	return all
}

func content(t *testing.T, image string) []byte {
	t.Helper()
	all, err := os.ReadFile(image)
	must(t, err)
	return all
}

// differing are the places of blocks that are not the same in two images of one length.
func differing(a, b []byte) map[int]bool {
	places := map[int]bool{}
	for at := 0; at < len(a); at += ondisk.BlockSize {
		if !bytes.Equal(a[at:at+ondisk.BlockSize], b[at:at+ondisk.BlockSize]) {
			places[at] = true
		}
	}
	return places
}

func superblocks() map[int]bool {
	return map[int]bool{superblock.Offset: true, superblock.MirrorOffset: true}
}

// TestEditKeepsTheUUID edits file systems whose UUID was set here and by btrfstune.
func TestEditKeepsTheUUID(t *testing.T) {
	plain := testImage(t, testTree(t))
	ours, theirs, edited := plain+".ours", plain+".theirs", plain+".edited"
	for _, path := range []string{ours, theirs} {
		must(t, os.WriteFile(path, content(t, plain), 0o600))
	}
	must(t, SetUUID(ours, otherUUID))
	must(t, testTools(t).Run(t.Context(), toolroot.Cmd{
		Program: "btrfstune", Args: []string{"-M", otherUUID.String(), theirs}, Write: []string{theirs},
	}))
	if digestOf(t, ours) == digestOf(t, theirs) {
		t.Error("btrfstune writes no more than the superblock; wanted the transaction that an edit removes")
	}
	want := digestOf(t, ours)
	for _, from := range []string{ours, theirs} {
		must(t, Edit(t.Context(), from, edited, testEpoch, func(string) error { return nil }))
		if digestOf(t, edited) != want {
			t.Errorf("%s: after an edit that changes nothing there are other bytes than those of SetUUID", filepath.Ext(from))
		}
	}

	must(t, Edit(t.Context(), plain, plain, testEpoch, addFiles))
	must(t, Edit(t.Context(), ours, ours, testEpoch, addFiles))
	checkImage(t, ours)
	must(t, ResetUUID(ours))
	if digestOf(t, ours) != digestOf(t, plain) {
		t.Error("the UUID shows in other bytes than the superblock's")
	}
}

// TestTwoReleasesOfOneBase changes a base in two ways, and mounts both at once.
func TestTwoReleasesOfOneBase(t *testing.T) {
	needs.Root(t)
	o := testOptions(testTree(t))
	o.UUID = randomUUID(t)
	base := filepath.Join(t.TempDir(), "base")
	must(t, Format(t.Context(), testTools(t), base, o))
	release := func(text string) string {
		path := base + "." + text
		must(t, Edit(t.Context(), base, path, testEpoch, func(root string) error {
			return os.WriteFile(filepath.Join(root, "share/version"), []byte(text), 0o644)
		}))
		return path
	}
	first, second := release("one"), release("two")
	if diff := cmp.Diff([]UUID{o.UUID}, mountedAtOnce(t, o.UUID, first, second)); diff != "" {
		t.Errorf("of two with one UUID, the kernel knows one by it (-want +got):\n%s", diff)
	}
	changed := differing(content(t, first), content(t, second))

	ids := []UUID{randomUUID(t), randomUUID(t)}
	must(t, SetUUID(first, ids[0]))
	must(t, SetUUID(second, ids[1]))
	if got := mountedAtOnce(t, o.UUID, first, second); len(got) != 2 || !slices.Contains(got, ids[0]) || !slices.Contains(got, ids[1]) {
		t.Errorf("the kernel knows file systems %v; wanted %v", got, ids)
	}
	maps.Copy(changed, superblocks())
	if got := differing(content(t, first), content(t, second)); !maps.Equal(got, changed) {
		t.Errorf("blocks %v differ; wanted those with the file, and the superblocks: %v", got, changed)
	}
	for i, image := range []string{first, second} {
		if n := bytes.Count(content(t, image), ids[i][:]); n != len(superblocks()) {
			t.Errorf("the UUID is in %d places; wanted the superblock and its mirror", n)
		}
	}
}

// randomUUID is one that no other process mounts.
func randomUUID(t *testing.T) UUID {
	t.Helper()
	var seed [16]byte
	_, err := rand.Read(seed[:])
	must(t, err)
	return DerivedUUID("test", seed[:])
}

// mountedAtOnce mounts two images that say what they are. It returns by which UUIDs the kernel knows file systems with a metadata
// UUID, but for those that got a random one because theirs was in use (Linux 6.7).
func mountedAtOnce(t *testing.T, metadata UUID, first, second string) (known []UUID) {
	t.Helper()
	says := func(root, text string) {
		if got, err := os.ReadFile(filepath.Join(root, "share/version")); string(got) != text {
			t.Errorf("share/version is %q, %v; wanted %q", got, err, text)
		}
	}
	must(t, View(t.Context(), first, func(a string) error {
		return View(t.Context(), second, func(b string) error {
			says(a, "one")
			says(b, "two")
			files, err := filepath.Glob("/sys/fs/btrfs/*/metadata_uuid")
			for _, file := range files {
				of, _ := os.ReadFile(file) // another process may have unmounted it
				isRandom, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "temp_fsid"))
				if string(of) == metadata.String()+"\n" && string(isRandom) == "0\n" {
					known = append(known, parseUUID(t, filepath.Base(filepath.Dir(file))))
				}
			}
			return err
		})
	}))
	return known
}

func parseUUID(t *testing.T, text string) UUID {
	t.Helper()
	raw, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	must(t, err)
	return UUID(raw)
}
