package mount

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/needs"
)

// In a container the kernel may hand out a loop device that /dev does not have.
func TestLoopDeviceThatIsMissing(t *testing.T) {
	needs.Root(t)
	backing, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer backing.Close()
	if _, err := backing.WriteAt([]byte("content"), 4096); err != nil {
		t.Fatal(err)
	}
	if err := backing.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "loop") // nobody else's
	device, err := openLoop(path, number)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	info, err := device.Stat()
	if err != nil || info.Mode()&os.ModeDevice == 0 {
		t.Errorf("%s is %v, %v", path, info.Mode(), err)
	}
	part, err := Device(t.Context(), backing, 4096, 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer part.Close()
	content := make([]byte, 7)
	if _, err := part.ReadAt(content, 0); err != nil || string(content) != "content" {
		t.Errorf("the part begins with %q, %v", content, err)
	}
}
