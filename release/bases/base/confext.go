package base

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
)

// defaultConfext is the default /etc as an image. The initramfs merges it below the machine's own /etc.
const defaultConfext = "00-flatcar-default"

// makeConfext makes the image of a root's default /etc. It is neither signed nor verified: /usr is, and the keys that sign
// extensions are those of a release. The system does not look at it again, as Flatcar's does: there is no root hash by which systemd is sure
// that it is the same, and in a machine it was seen to unmerge /etc and merge it anew.
func makeConfext(ctx context.Context, tools *toolroot.Root, root string, epoch time.Time) error {
	confexts := filepath.Join(root, "usr/lib/confexts")
	if err := makeDirs(confexts); err != nil {
		return err
	}
	work, err := os.MkdirTemp(root, "confext.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	etc := filepath.Join(work, "etc")
	if err := os.Rename(filepath.Join(root, lowerEtc), etc); err != nil {
		return err
	}
	releases := filepath.Join(etc, "extension-release.d")
	err = makeDirs(releases)
	if err == nil {
		err = atomicfile.WriteBytes(filepath.Join(releases, "extension-release."+defaultConfext), 0o644, []byte("ID=_any\n"))
	}
	if err != nil {
		return err
	}
	err = tools.Run(ctx, toolroot.Cmd{
		Program: "mksquashfs",
		Args:    []string{work, filepath.Join(confexts, defaultConfext+".raw"), "-noappend", "-comp", "zstd", "-quiet", "-no-progress"},
		Read:    []string{work}, Write: []string{confexts}, Owners: true,
		Env: []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(epoch.Unix(), 10)},
	})
	if err != nil {
		return err
	}
	if err := os.RemoveAll(releases); err != nil {
		return err
	}
	return os.Rename(etc, filepath.Join(root, lowerEtc))
}
