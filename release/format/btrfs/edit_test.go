package btrfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/btrfs/mount"
	"github.com/flatcar/oem-sysext/release/format/btrfs/superblock"
)

func TestEdit(t *testing.T) {
	source := testTree(t)
	from := testImage(t, source)
	to := from + ".edited"
	before := digestOf(t, from)
	must(t, Edit(t.Context(), from, to, testEpoch, addFiles))
	checkImage(t, to)
	if digestOf(t, from) != before {
		t.Error("the image that was edited has changed")
	}
	must(t, addFiles(source))
	want, err := listing(source)
	must(t, err)
	if diff := cmp.Diff(want, viewListing(t, to)); diff != "" {
		t.Errorf("the edited file system differs (-wanted +image):\n%s", diff)
	}
	must(t, View(t.Context(), to, func(root string) error {
		if !isReadOnly(t, root) {
			t.Error("the default subvolume is not read-only")
		}
		return nil
	}))
}

func TestEditInPlaceKeepsWhatFollows(t *testing.T) {
	image := testImage(t, t.TempDir())
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("hash tree"), int64(testFilesystem))
	must(t, errors.Join(err, f.Close()))
	must(t, Edit(t.Context(), image, image, testEpoch, func(root string) error { return os.Mkdir(filepath.Join(root, "new"), 0o755) }))
	content, err := os.ReadFile(image)
	must(t, err)
	if got := string(content[testFilesystem:][:9]); got != "hash tree" || len(content) != int(testPartition) {
		t.Errorf("behind the file system is %q, of %d bytes", got, len(content))
	}
	if _, there := viewListing(t, image)["new"]; !there {
		t.Error("the change is not there")
	}
}

func TestEditThatChangesNothingChangesNoByte(t *testing.T) {
	from := testImage(t, testTree(t))
	to := from + ".edited"
	must(t, Edit(t.Context(), from, to, testEpoch, func(string) error { return nil }))
	if digestOf(t, from) != digestOf(t, to) {
		t.Error("the image changed")
	}
}

// TestSameBytes makes an image in processes that differ in time, time zone, umask, directory and load.
func TestSameBytes(t *testing.T) {
	needs.Root(t)
	source := testTree(t)
	first := makeInChild(t, source, "TZ=Asia/Tokyo")
	time.Sleep(1100 * time.Millisecond) // the next second, for time stamps
	stop := load(t)
	second := makeInChild(t, source, "TZ=America/New_York", "GOMAXPROCS=1")
	stop()
	if first != second {
		t.Errorf("two runs give %v and %v", first, second)
	}
}

func makeInChild(t *testing.T, source string, env ...string) digest.SHA256 {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	out, err := child("make", env, source, path, testTools(t).Path(".")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	checkImage(t, path)
	return digestOf(t, path)
}

func child(name string, env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), childEnv+"="+name), env...)
	return cmd
}

// load keeps the disk and a processor busy, so that the kernel writes things out at other times.
func load(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	path := filepath.Join(t.TempDir(), "load")
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			_ = os.WriteFile(path, random(8<<20), 0o600)
			syscall.Sync()
		}
	})
	return func() { cancel(); done.Wait() }
}

// TestKernelAloneIsNotReproducible shows that TestSameBytes could fail.
func TestKernelAloneIsNotReproducible(t *testing.T) {
	from := testImage(t, testTree(t))
	changed := func() digest.SHA256 {
		in, super := openImage(t, from)
		private, err := privateCopy(in, int64(super.Size), t.TempDir())
		must(t, err)
		defer private.Close()
		must(t, changeMounted(t.Context(), private, super, addFiles))
		_, err = private.Seek(0, 0)
		must(t, err)
		sum, _, err := digest.OfReader(private)
		must(t, err)
		return sum
	}
	first := changed()
	time.Sleep(1100 * time.Millisecond)
	if first == changed() {
		t.Error("what the kernel wrote is the same twice")
	}
}

func openImage(t *testing.T, path string) (*os.File, Superblock) {
	t.Helper()
	in, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { in.Close() })
	super, err := superblock.ReadFile(in)
	must(t, err)
	return in, super
}

func TestFailedEditLeavesNothing(t *testing.T) {
	image := testImage(t, t.TempDir())
	before := directory(t, filepath.Dir(image))
	cut := errors.New("cut")
	ctx, cancel := context.WithCancel(t.Context())
	var open *os.File
	for name, change := range map[string]func(root string) error{
		"error":  func(root string) error { return errors.Join(addFiles(root), cut) },
		"cancel": func(string) error { cancel(); return nil },
		"panic":  func(string) error { panic("cut") },
		"open": func(root string) (err error) {
			open, err = os.Create(filepath.Join(root, "left open"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			func() {
				defer func() { _ = recover() }()
				if err := Edit(ctx, image, image+".out", testEpoch, change); err == nil {
					t.Error("no error")
				}
			}()
			if diff := cmp.Diff(before, directory(t, filepath.Dir(image))); diff != "" {
				t.Errorf("files (-before +after):\n%s", diff)
			}
		})
	}
	must(t, open.Close())
	eventuallyNoLoop(t, filepath.Dir(image))
}

func directory(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// eventuallyNoLoop waits until no loop device has a file in dir. A detached device takes a moment.
func eventuallyNoLoop(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		used := loops(t, dir)
		if len(used) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("loop devices are left: %v", used)
		}
	}
}

func loops(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	must(t, err)
	var used []string
	for _, file := range files {
		name, err := os.ReadFile(file)
		if err == nil && len(name) > len(dir) && string(name[:len(dir)]) == dir {
			used = append(used, string(name))
		}
	}
	return used
}

func TestKilledEditLeavesNothing(t *testing.T) {
	image := testImage(t, testTree(t))
	before := directory(t, filepath.Dir(image))
	cmd := child("hang", nil, image)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "changing\n" {
		t.Errorf("the child says %q, %v", line, err)
	}
	if len(loops(t, filepath.Dir(image))) != 1 {
		t.Errorf("while it runs there are loop devices %v; wanted one", loops(t, filepath.Dir(image)))
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	eventuallyNoLoop(t, filepath.Dir(image))
	if diff := cmp.Diff(before, directory(t, filepath.Dir(image))); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
}

func TestFull(t *testing.T) {
	image := testImage(t, t.TempDir())
	free, err := Free(t.Context(), image)
	must(t, err)
	add := func(n size.Bytes) error {
		return Edit(t.Context(), image, image+".out", testEpoch, func(root string) error {
			return os.WriteFile(filepath.Join(root, "big"), random(int(n)), 0o644)
		})
	}
	for _, n := range []size.Bytes{free, 3 * free} { // does not fit at the end; not even while it is changed
		if err := add(n); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%v in %v of room: error is %v; wanted ENOSPC", n, free, err)
		}
	}
	if _, err := os.Stat(image + ".out"); !os.IsNotExist(err) {
		t.Errorf("after the failures there is an image: %v", err)
	}
	must(t, add(free-free/350))
	checkImage(t, image+".out")
	left, err := Free(t.Context(), image+".out")
	must(t, err)
	if left < 0 || left > free/400 {
		t.Errorf("%v are left of %v", left, free)
	}
}

func TestSeveralAtOnce(t *testing.T) {
	image := testImage(t, testTree(t))
	errs := make(chan error)
	const edits = 3
	for i := range edits {
		go func() {
			errs <- View(t.Context(), image, func(string) error {
				return Edit(t.Context(), image, fmt.Sprint(image, i), testEpoch, addFiles)
			})
		}()
	}
	for range edits {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if digestOf(t, image+"0") != digestOf(t, image+"1") {
		t.Error("two edits at once differ")
	}
}

func TestNeedsRoot(t *testing.T) {
	needs.Root(t)
	must(t, syscall.Seteuid(65534))
	defer func() { must(t, syscall.Seteuid(0)) }()
	for name, err := range map[string]error{
		"Edit":   Edit(t.Context(), "none", "none", testEpoch, nil),
		"View":   View(t.Context(), "none", nil),
		"Format": Format(t.Context(), nil, "none", Options{}),
	} {
		if !errors.Is(err, mount.ErrNeedsRoot) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
