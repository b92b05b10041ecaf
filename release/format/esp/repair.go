package esp

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
)

// Repair repairs the file system of a partition image after an interrupted change, for example by freeing clusters that belong
// to no file. It does not change a sound one. The image is of the partition only.
func Repair(ctx context.Context, tools *toolroot.Root, image string) error {
	err := tools.Run(ctx, toolroot.Cmd{Program: "fsck.fat", Args: []string{"-a", image}, Write: []string{image}})
	const corrected = 1 // fsck.fat(8), exit status
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == corrected {
		return nil
	}
	if err != nil {
		return fmt.Errorf("EFI system partition: %w", err)
	}
	return nil
}

// MakeDir makes a directory in the partition unless it exists.
func (p Partition) MakeDir(ctx context.Context, name string) error {
	err := p.run(ctx, toolroot.Cmd{Program: "mdir", Args: []string{"-b", "::" + name}})
	if err == nil {
		return nil
	}
	return p.run(ctx, toolroot.Cmd{Program: "mmd", Args: []string{"::" + name}})
}
