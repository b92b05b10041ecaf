package show

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Base opens the base and prints its version, kernel, systemd and free space.
func Base(ctx context.Context, o setup.Options, out io.Writer) error {
	r, err := release.OpenForImages(ctx, o)
	if err != nil {
		return err
	}
	defer r.Bench.Close()
	empty, err := r.Format(ctx)
	if err != nil {
		return err
	}
	t := table.New(out)
	for _, fact := range [][2]string{
		{"base", r.Base.ID}, {"version", r.Base.Version}, {"build", r.Base.Build}, {"architecture", string(r.Base.Arch)},
		{"systemd", r.Base.Systemd}, {"kernel", r.Base.Release}, {"kernel file", r.Base.Kernel},
		{"disk image", r.Base.Disk}, {"made", r.Base.Epoch.Format("2006-01-02 15:04 MST")},
		{"free in /usr", fmt.Sprintf("%v, without images", empty.Free)}, {"images in it", strings.Join(r.Base.Embeds, ", ")},
	} {
		if fact[1] != "" {
			t.Row(fact[0], fact[1])
		}
	}
	return t.Flush()
}
