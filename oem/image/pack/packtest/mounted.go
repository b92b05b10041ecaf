// Package packtest mounts images in tests.
package packtest

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Mounted returns the tree of an image as the kernel sees it. It mounts the image in the mount namespace of a thread,
// which ends with the thread.
func Mounted(t testing.TB, image string) tree.Tree {
	t.Helper()
	needs.Root(t)
	dir := t.TempDir()
	var got tree.Tree
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		errs <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			err := run.Run(t.Context(), run.Cmd{
				Program: "mount", Args: []string{"-o", "loop,ro", image, dir}, Env: run.HostEnv("PATH"),
			})
			if err != nil {
				return err
			}
			root, err := os.Stat(dir)
			if err == nil && root.Mode().Perm() != 0o755 {
				err = errors.New("the root directory's mode is " + root.Mode().String())
			}
			scanned, scanErr := tree.Scan(dir, digest.OfReader)
			got = scanned
			return errors.Join(err, scanErr, unix.Unmount(dir, 0))
		}()
	}()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	return got
}
