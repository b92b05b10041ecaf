package esp

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
)

// Repair repairs the file system of a partition image after an interrupted change, for example by freeing clusters that belong
// to no file. It does not change a sound one. The image is of the partition only.
//
// fsck.fat makes files of such clusters, in the root directory, which would stay for good: nobody asks for them, and a kernel takes much
// of the partition. Those that this run makes are removed.
func Repair(ctx context.Context, tools *toolroot.Root, image string) error {
	p := Partition{Tools: tools, Disk: image}
	before, err := p.salvaged(ctx)
	if err != nil {
		before = nil // it is broken so much that it cannot be listed
	}
	if err := repair(ctx, tools, image); err != nil {
		return err
	}
	after, err := p.salvaged(ctx)
	if err != nil {
		return err
	}
	for _, name := range after {
		if slices.Contains(before, name) {
			continue
		}
		if err := p.run(ctx, toolroot.Cmd{Program: "mdel", Args: []string{name}}); err != nil {
			return err
		}
	}
	return nil
}

// salvagedFile is what fsck.fat calls a file of clusters that belong to none.
var salvagedFile = regexp.MustCompile(`(?i)^::/fsck[0-9]{4}\.rec$`)

// salvaged lists such files.
func (p Partition) salvaged(ctx context.Context) ([]string, error) {
	list, err := p.output(ctx, "mdir", "-b", "::/")
	var names []string
	for line := range strings.Lines(list) {
		if name := strings.TrimSpace(line); salvagedFile.MatchString(name) {
			names = append(names, name)
		}
	}
	return names, err
}

func repair(ctx context.Context, tools *toolroot.Root, image string) error {
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
