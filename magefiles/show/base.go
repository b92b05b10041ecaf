package show

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/setup"
)

// BaseFacts is what a base is.
type BaseFacts struct {
	ID           string     `json:"id" doc:"of a reference base; flatcar for Flatcar's releases"`
	Version      string     `json:"version"`
	Build        string     `json:"build,omitempty" doc:"BUILD_ID in its os-release"`
	Architecture string     `json:"architecture"`
	Systemd      string     `json:"systemd" doc:"its version"`
	Kernel       string     `json:"kernel,omitempty" doc:"its release, as uname -r prints it"`
	KernelFile   string     `json:"kernel_file,omitempty" doc:"path"`
	Disk         string     `json:"disk_image,omitempty" doc:"path, if the base is one"`
	Made         time.Time  `json:"made"`
	Free         size.Bytes `json:"free_bytes" doc:"in /usr, without images"`
	Embeds       []string   `json:"images,omitempty" doc:"names of images that it has already"`
}

// Base opens the base and prints its version, kernel, systemd and free space.
func Base(ctx context.Context, o setup.Options, out Output) error {
	r, err := release.OpenForImages(ctx, o)
	if err != nil {
		return err
	}
	defer r.Bench.Close()
	empty, err := r.Format(ctx)
	if err != nil {
		return err
	}
	return baseFacts(out, BaseFacts{
		ID: r.Base.ID, Version: r.Base.Version, Build: r.Base.Build, Architecture: string(r.Base.Arch), Systemd: r.Base.Systemd,
		Kernel: r.Base.Release, KernelFile: r.Base.Kernel, Disk: r.Base.Disk, Made: r.Base.Epoch, Free: empty.Free, Embeds: r.Base.Embeds,
	})
}

func baseFacts(out Output, b BaseFacts) error {
	return out.answer(b, func() error {
		t := table.New(out)
		for _, fact := range [][2]string{
			{"base", b.ID}, {"version", b.Version}, {"build", b.Build}, {"architecture", b.Architecture},
			{"systemd", b.Systemd}, {"kernel", b.Kernel}, {"kernel file", b.KernelFile},
			{"disk image", b.Disk}, {"made", b.Made.Format("2006-01-02 15:04 MST")},
			{"free in /usr", fmt.Sprintf("%v, without images", b.Free)}, {"images in it", strings.Join(b.Embeds, ", ")},
		} {
			if fact[1] != "" {
				t.Row(fact[0], fact[1])
			}
		}
		return t.Flush()
	})
}
