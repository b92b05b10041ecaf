package flatcar

import (
	"bytes"
	"context"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/flatcar/flatcartest"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// published is a release in all forms, made once for all tests. Nobody may change its files.
var published struct {
	sync.Once
	dir                          string
	tools, judges                *toolroot.Root
	usr, partition, kernel, disk string
	root                         digest.SHA256
}

func publish(t *testing.T) {
	t.Helper()
	tools, judges := toolroottest.Open(t), toolroottest.Judges(t)
	published.Do(func() {
		p := &published
		p.tools, p.judges = tools, judges
		dir, err := os.MkdirTemp("", "flatcar.")
		if err != nil {
			t.Fatal(err)
		}
		p.dir = dir
		take := func(path string) string { // out of the first test's directory
			to := filepath.Join(dir, filepath.Base(path))
			if err := os.Rename(path, to); err != nil {
				t.Fatal(err)
			}
			return to
		}
		p.usr = take(flatcartest.Usr(t, flatcartest.Version))
		var partition string
		partition, p.root = flatcartest.Partition(t, tools, p.usr)
		p.partition = take(partition)
		p.kernel = take(flatcartest.Kernel(t, p.root))
		p.disk = take(flatcartest.Disk(t, judges, p.partition, p.kernel))
	})
	if published.disk == "" {
		t.Fatal("an earlier test could not make the release")
	}
}

func TestMain(m *testing.M) {
	if work := os.Getenv("FLATCAR_TEST_OPENS"); work != "" {
		if err := openInChild(strings.Split(work, ":")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	os.RemoveAll(published.dir)
	os.Exit(code)
}

// newOptions has an empty cache.
func newOptions(t *testing.T, keys openpgp.EntityList) Options {
	t.Helper()
	publish(t)
	o, err := optionsIn(t.TempDir(), published.tools, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	o.Keys = keys
	return o
}

func optionsIn(dir string, tools *toolroot.Root, log *slog.Logger) (Options, error) {
	results, err := store.OpenResults(filepath.Join(dir, "results"), nil, nil)
	return Options{
		CacheDir: dir, Arch: arch.AMD64, Store: fetch.New(filepath.Join(dir, "downloads"), log, nil),
		Results: results, Tools: tools, Log: log,
	}, err
}

// openInChild opens a file with a cache and a tool root, all three named.
func openInChild(paths []string) error {
	tools, err := toolroot.At(paths[2])
	if err != nil {
		return err
	}
	o, err := optionsIn(paths[1], tools, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	_, err = Open(context.Background(), Reference{File: paths[0]}, o)
	return err
}

// TestKilled kills a process that opens a disk image, at one moment after the other. Nothing half done may pass for a base,
// no device may stay, and a later run makes what the killed ones did not.
func TestKilled(t *testing.T) {
	o := newOptions(t, nil)
	for delay := 20 * time.Millisecond; delay < 6*time.Second; delay *= 3 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "FLATCAR_TEST_OPENS="+strings.Join([]string{published.disk, o.CacheDir, published.tools.Path("")}, ":"))
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay)
		if err := child.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		ended := child.Wait()
		bases, err := filepath.Glob(filepath.Join(o.CacheDir, "base-*[0-9a-f]"))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range bases {
			if _, err := load(dir); err != nil {
				t.Errorf("killed after %v: %v", delay, err)
			}
		}
		if len(bases) > 0 || ended == nil {
			break // it was faster
		}
	}
	b, err := open(t, o, published.disk)
	if err != nil || b.RootHash != published.root {
		t.Fatalf("after all: %+v, %v", b, err)
	}
	left, err := filepath.Glob(filepath.Join(o.CacheDir, ".base-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	devices, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, device := range devices {
		if file, err := os.ReadFile(device); err == nil && strings.Contains(string(file), o.CacheDir) {
			t.Errorf("%s is still attached to %s", device, file)
		}
	}
}

func open(t *testing.T, o Options, text string) (base.Base, error) {
	t.Helper()
	r, err := Parse(text)
	if err != nil {
		return base.Base{}, err
	}
	return Open(t.Context(), r, o)
}

// in puts a copy of a file into a directory of its own, under another name if one is given.
func in(t *testing.T, path, name string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), name)
	command(t, "/", "cp --sparse=always "+path+" "+to)
	return to
}

// command runs a program of the host in a directory.
func command(t *testing.T, dir string, script string) {
	t.Helper()
	if err := run.Run(t.Context(), run.Cmd{Program: "sh", Args: []string{"-ec", script}, Dir: dir, Env: run.HostEnv("PATH")}); err != nil {
		t.Fatal(err)
	}
}

// TestEveryFormIsTheSameRelease opens all that Flatcar publishes of a release, compressed or not.
func TestEveryFormIsTheSameRelease(t *testing.T) {
	needs.Programs(t, "bzip2", "gzip", "cpio")
	publish(t)
	before, _, err := digest.OfFile(published.disk)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	link := func(path, name string) string {
		to := filepath.Join(dir, name)
		if err := os.Symlink(path, to); err != nil {
			t.Fatal(err)
		}
		return to
	}
	partition := link(published.partition, "flatcar_production_update.bin")
	link(published.kernel, "flatcar_production_image.vmlinuz")
	const packages = "sys-apps/nvme-cli-2.13::portage-stable\n"
	if err := os.WriteFile(filepath.Join(dir, packagesName), []byte(packages), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, dir, `
		head -c 700M flatcar_production_update.bin | bzip2 -1 >flatcar_production_update.bin.bz2
		tail -c +734003201 flatcar_production_update.bin | bzip2 -1 >>flatcar_production_update.bin.bz2 # a second stream, as lbzip2 makes them`)
	if err := published.tools.Run(t.Context(), toolroot.Cmd{
		Program: "mksquashfs", Args: []string{published.usr, filepath.Join(dir, squashfsName), "-quiet", "-no-progress", "-all-root"},
		Read: []string{published.usr}, Write: []string{dir},
	}); err != nil {
		t.Fatal(err)
	}
	command(t, dir, `mkdir etc && printf '.\nusr.squashfs\netc\n' | cpio --quiet -o -H newc | gzip -1 >flatcar_production_pxe_image.cpio.gz`)
	want := base.Base{
		ID: "flatcar", Version: "4593.2.1", VersionID: "4593.2.1", Build: "2026-05-12-1821", Arch: "amd64",
		Systemd: "257", Release: "6.12.90-flatcar", Epoch: flatcartest.Epoch,
	}
	for name, form := range map[string]struct {
		path                     string
		isPartition, isDisk, has bool // has a kernel
	}{
		"disk":                   {published.disk, true, true, true},
		"partition":              {partition, true, false, true},
		"partition, compressed":  {filepath.Join(dir, "flatcar_production_update.bin.bz2"), true, false, true},
		"partition, no kernel":   {published.partition, true, false, true},
		"squashfs":               {filepath.Join(dir, squashfsName), false, false, true},
		"network boot, archived": {filepath.Join(dir, "flatcar_production_pxe_image.cpio.gz"), false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOptions(t, nil)
			b, err := open(t, o, form.path)
			if err != nil {
				t.Fatal(err)
			}
			if (b.Image != "") != form.isPartition || (b.Disk != "") != form.isDisk || (b.Kernel != "") != form.has || b.Source.IsZero() {
				t.Errorf("%+v", b)
			}
			if form.isPartition && b.RootHash != published.root {
				t.Errorf("root hash is %v; want %v", b.RootHash, published.root)
			}
			config, err := os.ReadFile(b.Config)
			if err != nil || !strings.Contains(string(config), "CONFIG_SQUASHFS_XZ=y") {
				t.Errorf("configuration is %q, %v", config, err)
			}
			if listed, err := os.ReadFile(b.Packages); filepath.Dir(form.path) == dir && (err != nil || string(listed) != packages) {
				t.Errorf("the list of packages is %q, %v", listed, err)
			}
			got := b
			got.Packages = ""
			got.Usr, got.Kernel, got.Config, got.Image, got.Disk, got.Source, got.RootHash = "", "", "", "", "", digest.SHA256{}, digest.SHA256{}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			command(t, "/", "diff -r --no-dereference "+published.usr+" "+b.Usr)
			again, err := open(t, o, form.path)
			if diff := cmp.Diff(b, again); err != nil || diff != "" {
				t.Errorf("from the cache: %v %s", err, diff)
			}
		})
	}
	if after, _, err := digest.OfFile(published.disk); err != nil || after != before {
		t.Errorf("the disk image was changed: %v", err)
	}
}

// TestRefused spoils a release in one way after the other. Nothing may be left in the cache.
func TestRefused(t *testing.T) {
	publish(t)
	patch := func(path string, offset int64, content string) string {
		to := in(t, path, "spoiled")
		f, err := os.OpenFile(to, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte(content), offset); err != nil {
			t.Fatal(err)
		}
		return to
	}
	resize := func(path string, length int64) string {
		to := in(t, path, "spoiled")
		if err := os.Truncate(to, length); err != nil {
			t.Fatal(err)
		}
		return to
	}
	text := func(content string) string {
		to := filepath.Join(t.TempDir(), "spoiled")
		if err := os.WriteFile(to, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return to
	}
	superblock := int64(btrfs.FlatcarFilesystem)
	size := int64(btrfs.FlatcarPartition)
	smaller := filepath.Join(t.TempDir(), "spoiled")
	if err := btrfs.Format(t.Context(), published.tools, smaller, btrfs.Options{
		Source: published.usr, UUID: btrfs.UUID{1}, Filesystem: btrfs.FlatcarPartition / 2, Partition: btrfs.FlatcarPartition,
	}); err != nil {
		t.Fatal(err)
	}
	noSystem := filepath.Join(t.TempDir(), "spoiled")
	if err := vm.MakeDisk(t.Context(), published.tools, noSystem, []vm.Partition{vm.UsrA(published.partition)}); err != nil {
		t.Fatal(err)
	}
	otherKernel := flatcartest.Kernel(t, digest.Of([]byte("another partition")))
	for want, spoiled := range map[string]struct {
		path string
		with func(*Options)
	}{
		"unknown content":            {path: text("garbage")},
		"wanted a disk image":        {path: text("")},
		"byte 1080: an ext2":         {path: patch(text(strings.Repeat("\x00", 4096)), 1080, "\x53\xef")},
		"has 1073741823 bytes":       {path: resize(published.partition, size-1)},
		"has 1073745920 bytes":       {path: resize(published.partition, size+4096)},
		"checksum is":                {path: patch(published.partition, 64<<10+56, "\xff")},
		"has 536870912 bytes":        {path: smaller},
		"signature is \"Verity":      {path: patch(published.partition, superblock, "V")},
		"number of data blocks is 1": {path: patch(published.partition, superblock+72, "\x01\x00\x00\x00")},
		"data block 1280 at byte":    {path: patch(published.partition, 5<<20+4090, "x")},
		"do not belong together":     {path: published.partition, with: func(o *Options) { o.Kernel = otherKernel }},
		"no kernel for amd64":        {path: published.partition, with: func(o *Options) { o.Kernel = text("text") }},
		"wanted arm64-usr":           {path: published.partition, with: func(o *Options) { o.Arch = arch.ARM64 }},
		"before byte 3":              {path: text("BZh")},
		"damaged compressed data":    {path: text("BZh9" + strings.Repeat("x", 100))},
		"unexpected EOF":             {path: text("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03")},
		"within a header":            {path: text("070701")},
		"has no usr.squashfs":        {path: text("070701" + strings.Repeat("00000000", 11) + "0000000b" + "00000000" + "TRAILER!!!\x00")},
		"SQUASHFS superblock":        {path: text("hsqs" + strings.Repeat("\x00", 200))},
		"one copy of the partition":  {path: patch(published.disk, 512+16, "x")},
		"neither copy":               {path: resize(published.disk, 1<<20)},
		"lacks partitions":           {path: noSystem},
	} {
		t.Run(want, func(t *testing.T) {
			o := newOptions(t, nil)
			if spoiled.with != nil {
				spoiled.with(&o)
			}
			_, err := open(t, o, spoiled.path)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error is %v; want %q", err, want)
			}
			left, _ := filepath.Glob(filepath.Join(o.CacheDir, "{.,}base-*"))
			for _, path := range left {
				if !strings.HasSuffix(path, ".lock") {
					t.Errorf("left: %s", path)
				}
			}
		})
	}
}

// TestOtherUsrsAreRefused spoils what the /usr says.
func TestOtherUsrsAreRefused(t *testing.T) {
	for want, change := range map[string][2]string{
		"no os-release":                       {"lib/os-release", ""},
		"ID=debian; wanted flatcar":           {"lib/os-release", "ID=debian\n"},
		"wanted one such as 9999.0.0":         {"lib/os-release", "ID=flatcar\nVERSION=nightly\n"},
		"wanted VERSION_ID=1.2.3":             {"lib/os-release", "ID=flatcar\nVERSION=1.2.3+x\nVERSION_ID=1.2.4\n"},
		"board arm64-usr; wanted amd64-usr":   {"lib/os-release", "ID=flatcar\nVERSION=1.2.3\nVERSION_ID=1.2.3\nFLATCAR_BOARD=arm64-usr\n"},
		"no service manager":                  {"lib/systemd/systemd", ""},
		"lib/systemd/systemd: ":               {"lib/systemd/systemd", "#!/bin/sh\n"},
		"0 things named lib*/systemd/libsyst": {"lib64/systemd/libsystemd-shared-257.so", ""},
		"2 things named lib*/systemd/libsyst": {"lib64/systemd/libsystemd-shared-255.so", "x"},
		"2 things named lib/modules/*":        {"lib/modules/6.6.6/modules.dep", "x"},
	} {
		dir := flatcartest.Usr(t, flatcartest.Version)
		path := filepath.Join(dir, change[0])
		err := os.Remove(path)
		if change[1] != "" {
			err = os.MkdirAll(filepath.Dir(path), 0o755)
			if err == nil {
				err = os.WriteFile(path, []byte(change[1]), 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		i := &importer{Options: Options{Arch: arch.AMD64}, dir: filepath.Dir(dir)}
		if err := i.look(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
	}
}

func TestReferences(t *testing.T) {
	file := filepath.Join(t.TempDir(), "flatcar_production_image.bin")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]Reference{
		"4593.2.1":                               {Version: "4593.2.1"},
		"4799.0.0+nightly-2":                     {Version: "4799.0.0+nightly-2"},
		"stable":                                 {Channel: "stable"},
		"lts-2024":                               {Channel: "lts-2024"},
		"https://example.org/4593.2.1/x.bin.bz2": {URL: "https://example.org/4593.2.1/x.bin.bz2"},
		file:                                     {File: file},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "stabel", "4593", "/nowhere/image.bin", "https://example.org", "https://example.org/", t.TempDir()} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%s: accepted as %+v", text, got)
		}
	}
	for r, want := range map[Reference]string{
		{Version: "4593.2.1"}: "4593.2.1",
		{URL: "https://example.org/amd64-usr/4593.2.1/flatcar_production_image.bin.bz2?x=4459.2.0"}: "4593.2.1",
		{URL: "https://example.org/amd64-usr/current/flatcar_production_image.bin.bz2"}:             "",
		{File: "/srv/4459.2.0/flatcar-4593.2.1.bin"}:                                                "4593.2.1",
		{File: "/srv/flatcar-4593.2.1"}:                                                             "4593.2.1",
		{File: "/srv/1.2.3/flatcar.bin"}:                                                            "",
	} {
		if got := r.wanted(); got != want {
			t.Errorf("%+v wants %q; want %q", r, got, want)
		}
	}
	for r, want := range map[Reference]string{
		{Version: "4593.2.1"}: "stable/4593.2.1", {Version: "4628.0.0"}: "alpha/4628.0.0", {Version: "4593.1.0+x"}: "beta/4593.1.0+x",
		{Version: "4081.3.6"}: "lts/4081.3.6", {Channel: "beta"}: "beta/current", {Channel: "lts-2024"}: "lts/current-2024",
	} {
		if server, dir, err := r.channel(); err != nil || server+"/"+dir != want {
			t.Errorf("%+v: %s/%s, %v", r, server, dir, err)
		}
	}
	if _, _, err := (Reference{Version: "4593.4.0"}).channel(); err == nil || !strings.Contains(err.Error(), "belongs to no channel") {
		t.Errorf("error is %v", err)
	}
}

// TestKeyOfTheTree checks that the tree has the right key, complete with the subkeys that sign, and takes no other.
func TestKeyOfTheTree(t *testing.T) {
	keys, err := Keys("")
	if err != nil {
		t.Fatal(err)
	}
	var subkeys []string
	for _, sub := range keys[0].Subkeys {
		subkeys = append(subkeys, strings.ToUpper(hex.EncodeToString(sub.PublicKey.Fingerprint)))
		if err := keys[0].PrimaryKey.VerifyKeySignature(sub.PublicKey, sub.Sig); err != nil || !sub.Sig.FlagSign {
			t.Errorf("subkey %s: %v", sub.PublicKey.KeyIdString(), err)
		}
	}
	want := []string{"E9426D8B67E35DF476BD048185F7C8868837E271", "52F145DFD00BBDCD928CBB5A32DA80F91EF52974"}
	if diff := cmp.Diff(want, subkeys); diff != "" {
		t.Error(diff)
	}
	other := filepath.Join(t.TempDir(), "key")
	f, err := os.Create(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := newKey(t).Serialize(f); err != nil {
		t.Fatal(err)
	}
	if _, err := Keys(other); err == nil || !strings.Contains(err.Error(), "wanted "+Fingerprint) {
		t.Errorf("error is %v", err)
	}
}

func newKey(t *testing.T) *openpgp.Entity {
	t.Helper()
	key, err := openpgp.NewEntity("Flatcar Buildbot", "for tests", "buildbot@example.org", keyConfig())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyConfig() *packet.Config {
	made := time.Now().Add(-time.Hour)
	return &packet.Config{Time: func() time.Time { return made }, Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA256}
}

// server serves files by their path. The first image is cut.
type server struct {
	files    map[string]string
	wasCut   atomic.Bool
	requests []string
	mu       sync.Mutex
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Header.Get("Range")+r.URL.Path)
	s.mu.Unlock()
	file, there := s.files[r.URL.Path]
	if !there {
		http.NotFound(w, r)
		return
	}
	if strings.HasSuffix(file, ".bz2") && s.wasCut.CompareAndSwap(false, true) {
		w = &cutWriter{ResponseWriter: w, left: 1 << 20}
	}
	http.ServeFile(w, r, file)
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return w.ResponseWriter.Write(p)
}

// TestDownload asks for a channel, whose image comes in two halves, then for the version, which is there already.
func TestDownload(t *testing.T) {
	needs.Programs(t, "bzip2")
	key := newKey(t)
	o := newOptions(t, openpgp.EntityList{key})
	dir := t.TempDir()
	image := filepath.Join(dir, diskImage)
	command(t, dir, "bzip2 -1 -c "+published.disk+" >"+image)
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	var signed bytes.Buffer
	if err := openpgp.DetachSign(&signed, key, bytes.NewReader(content), nil); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		image + ".sig":                    signed.String(),
		filepath.Join(dir, "version.txt"): "FLATCAR_VERSION=4593.2.1\nFLATCAR_VERSION_ID=4593.2.1\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := &server{files: map[string]string{
		"/stable/amd64-usr/current/version.txt":            filepath.Join(dir, "version.txt"),
		"/stable/amd64-usr/4593.2.1/" + diskImage:          image,
		"/stable/amd64-usr/4593.2.1/" + diskImage + ".sig": image + ".sig",
		"/stable/amd64-usr/4593.2.2/" + diskImage:          image, // a server that plays an older release
		"/stable/amd64-usr/4593.2.2/" + diskImage + ".sig": image + ".sig",
		"/stable/amd64-usr/4593.2.3/" + diskImage:          published.kernel, // and another file
		"/stable/amd64-usr/4593.2.3/" + diskImage + ".sig": image + ".sig",
		"/stable/amd64-usr/4593.2.4/" + diskImage:          image, // without a signature
		"/stable/amd64-usr/4593.2.5/" + diskImage + ".sig": image + ".sig",
		"/stable/amd64-usr/4593.2.5/flatcar_wrong.bin":     image,
		"/stable/amd64-usr/4593.2.5/flatcar_wrong.bin.sig": filepath.Join(dir, "version.txt"),
	}}
	web := httptest.NewServer(s)
	defer web.Close()
	o.Servers = web.URL + "/CHANNEL"
	if _, err := open(t, o, "stable"); err != nil {
		t.Fatal(err)
	}
	first := slices.Clone(s.requests)
	if !slices.ContainsFunc(first, func(request string) bool { return strings.HasPrefix(request, "bytes=") }) {
		t.Errorf("nothing was cut: %v", first)
	}
	b, err := open(t, o, "4593.2.1")
	if err != nil || b.Version != flatcartest.Version || b.Disk == "" {
		t.Fatalf("%+v, %v", b, err)
	}
	if more := s.requests[len(first):]; len(more) != 1 || !strings.HasSuffix(more[0], ".sig") {
		t.Errorf("asked again: %v", more)
	}
	for version, want := range map[string]string{
		"4593.2.2": "VERSION=4593.2.1; wanted 4593.2.2",
		"4593.2.4": "cannot be verified",
		"4593.2.6": "no such file there",
		web.URL + "/stable/amd64-usr/4593.2.5/flatcar_wrong.bin": "signature:",
	} {
		if _, err := open(t, o, version); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v; want %q", version, err, want)
		}
	}
	fresh := newOptions(t, openpgp.EntityList{key})
	fresh.Servers = o.Servers
	if _, err := open(t, fresh, "4593.2.3"); err == nil || !strings.Contains(err.Error(), "not signed with Flatcar's key") {
		t.Errorf("another file: %v", err)
	}
	fresh.Keys = openpgp.EntityList{newKey(t)}
	if _, err := open(t, fresh, "4593.2.1"); err == nil || !strings.Contains(err.Error(), EnvKey) {
		t.Errorf("another key: %v", err)
	}
	web.Close() // offline, what is there is there
	if b, err := open(t, o, "4593.2.1"); err != nil || b.Version != flatcartest.Version {
		t.Errorf("offline: %v", err)
	}
}

func FuzzIdentify(f *testing.F) {
	for _, m := range marks {
		f.Add(append(make([]byte, m.offset), m.magic...))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.Write(content); err != nil {
			t.Fatal(err)
		}
		what, err := identify(file)
		if (what == "") == (err == nil) {
			t.Fatalf("%q, %v", what, err)
		}
	})
}
