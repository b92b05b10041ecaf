package show

import (
	"io"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// Initrds prints a table of initramfs images with their files and contents.
func Initrds(out io.Writer, made []manifest.Initrd) error {
	t := table.New(out, "FILE", "SIZE", "IMAGE", "RECIPES")
	for _, i := range made {
		for _, f := range i.Files {
			t.Row(f.Name, f.Size, i.Image.Size, strings.Join(i.Recipes, " "))
		}
	}
	return t.Flush()
}
