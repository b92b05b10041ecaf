package show

import (
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// InitrdFile is an image for an initramfs in one form.
type InitrdFile struct {
	File     string     `json:"file" doc:"its name"`
	Size     size.Bytes `json:"bytes"`
	Platform string     `json:"platform" doc:"id"`
	Image    size.Bytes `json:"image_bytes" doc:"of the image in it"`
	Recipes  []string   `json:"recipes"`
}

// Initrds prints a table of initramfs images with their files and contents.
func Initrds(out Output, made []manifest.Initrd) error {
	files := []InitrdFile{}
	for _, i := range made {
		for _, f := range i.Files {
			files = append(files, InitrdFile{f.Name, f.Size, i.Platform, i.Image.Size, i.Recipes})
		}
	}
	return out.answer(files, func() error {
		t := table.New(out, "FILE", "SIZE", "IMAGE", "RECIPES")
		for _, f := range files {
			t.Row(f.File, f.Size, f.Image, strings.Join(f.Recipes, " "))
		}
		return t.Flush()
	})
}
