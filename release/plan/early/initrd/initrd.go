// Package initrd makes the forms in which boot loaders pass an extension image to an initramfs:
//   - an archive for an initramfs that runs systemd, which merges the image early in boot and hands it over to the system;
//   - an archive for a machine that Flatcar boots from the network, whose system merges the image;
//   - the archive that systemd-stub makes of images beside a unified kernel image;
//   - the files for an initramfs that lies in /usr, where nothing is appended to.
//
// In go the image, as a stream, and what the initramfs has; out come archives. An image is compressed already and is not
// compressed again. The same image gives the same bytes.
//
// Refused is an initramfs that breaks a rule of kernels: what would be appended to it would not be unpacked.
package initrd

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/release/format/cpio"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// Image is an extension image.
type Image struct {
	Name    string // such as oem-azure, as its extension-release says
	Size    int64
	Content io.Reader
}

// Where systemd looks for images: of all versions, and of those that systemd-stub found on the boot partition.
const (
	extensionsDir = "etc/extensions"
	stubDir       = ".extra/sysext"
)

// Systemd writes an archive to append to an initramfs of systemd, with the image and the files that make it be merged.
func Systemd(out io.Writer, image Image, files []embed.File, epoch time.Time) error {
	w := cpio.NewWriter(out, epoch)
	for _, f := range slices.SortedFunc(slices.Values(files), func(a, b embed.File) int { return cmp.Compare(a.Path, b.Path) }) {
		if err := add(w, f); err != nil {
			return err
		}
	}
	return errors.Join(addImage(w, path.Join(extensionsDir, image.Name+".raw"), image), w.Close())
}

// OEM is what a machine is told of itself: its platform's id and name, and the version of its OS.
type OEM struct{ ID, Name, Version string }

// PXE writes an archive to pass to Flatcar's kernel beside the one that it boots from the network with. What is in its /oem
// becomes /oem of the machine, where Flatcar's initramfs looks for the image of the OS's version.
func PXE(out io.Writer, oem OEM, image Image, epoch time.Time) error {
	release := fmt.Sprintf("ID=%s\nNAME=\"%s\"\nVERSION_ID=%s\n", oem.ID, strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(oem.Name), oem.Version)
	w := cpio.NewWriter(out, epoch)
	return errors.Join(
		add(w, embed.File{Path: "oem/oem-release", Mode: 0o644, Content: []byte(release)}),
		add(w, embed.File{Path: "oem/sysext/active-" + image.Name, Mode: 0o644}),
		addImage(w, "oem/sysext/"+image.Name+"-"+oem.Version+".raw", image),
		w.Close(),
	)
}

// Stub writes what systemd-stub makes of an image that lies in the directory beside a unified kernel image, byte for byte
// (systemd, src/boot/cpio.c): times are zero, and nobody can write.
func Stub(out io.Writer, image Image) error {
	w := cpio.NewWriter(out, time.Unix(0, 0))
	return errors.Join(
		w.Dir(path.Dir(stubDir), 0o555), w.Dir(stubDir, 0o555),
		w.File(path.Join(stubDir, image.Name+".sysext.raw"), 0o444, image.Size, image.Content),
		w.Close(),
	)
}

func add(w *cpio.Writer, f embed.File) error {
	if err := w.Parents(f.Path); err != nil {
		return err
	}
	if f.Target != "" {
		return w.Symlink(f.Path, f.Target)
	}
	return w.File(f.Path, uint32(f.Mode.Perm()), int64(len(f.Content)), strings.NewReader(string(f.Content)))
}

func addImage(w *cpio.Writer, name string, image Image) error {
	return errors.Join(w.Parents(name), w.File(name, 0o644, image.Size, image.Content))
}
