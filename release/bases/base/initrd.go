package base

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
)

// initrdFiles is where dracut finds our files while it works. Dracut puts its arguments into the initramfs,
// so this must be the same place always.
const initrdFiles = "usr/lib/initrd-files"

// initrdOf is what an initramfs is made of, and where.
type initrdOf struct {
	Initrd
	kernel string // its release
	root   string // whose programs make it
	outDir string
	epoch  time.Time
}

// make makes outDir/initrd with the root's own dracut.
func (i initrdOf) make(ctx context.Context) error {
	files := filepath.Join(i.root, initrdFiles)
	defer os.RemoveAll(files)
	if err := copyFiles("files/initrd", files); err != nil {
		return err
	}
	if err := makeLinks(files, i.Links); err != nil {
		return err
	}
	tools, err := toolroot.At(i.root)
	if err != nil {
		return err
	}
	initrd := filepath.Join(i.outDir, "initrd")
	clock := []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(i.epoch.Unix(), 10)}
	err = tools.Run(ctx, toolroot.Cmd{
		Program: "dracut",
		Args: []string{
			"--reproducible", "--no-machineid", "--no-hostonly", "--no-hostonly-cmdline", "--no-early-microcode", "--zstd",
			"--kver", i.kernel, "--tmpdir", "/tmp",
			"--modules", strings.Join(i.Modules, " "),
			"--add-drivers", strings.Join(i.Drivers, " "),
			"--install", strings.Join(i.Programs, " "),
			"--include", "/" + initrdFiles, "/",
			initrd,
		},
		Write: []string{i.outDir},
		Env:   clock,
	})
	if err == nil && i.TwoStage {
		err = i.splitStages(ctx, tools, clock)
	}
	if err != nil {
		return err
	}
	return os.Chmod(initrd, 0o644) // dracut keeps others from reading it; there is no secret in it
}

// secondStage is where Flatcar's first stage looks for the second one.
const secondStage = "usr/lib/flatcar/bootengine.img"

// stageFiles is where the files of two stages are while the root's programs work on them.
const stageFiles = "usr/lib/initrd-two-stage"

// splitStages moves what is in outDir/initrd to the root's second stage, and leaves a first one.
func (i initrdOf) splitStages(ctx context.Context, tools *toolroot.Root, clock []string) error {
	files := filepath.Join(i.root, stageFiles)
	defer os.RemoveAll(files)
	if err := copyFiles("files/two-stage", files); err != nil {
		return err
	}
	err := tools.Run(ctx, toolroot.Cmd{
		Program: "/" + stageFiles + "/make", Args: append([]string{i.kernel, i.outDir}, i.Drivers...),
		Write: []string{i.outDir}, Env: clock,
	})
	if err != nil {
		return err
	}
	image := filepath.Join(i.root, secondStage)
	if err := makeDirs(filepath.Dir(image)); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(i.outDir, "bootengine.img"), image); err != nil {
		return err
	}
	if err := copyFiles("files/two-stage/both", i.root); err != nil { // of the second stage and the system
		return err
	}
	return os.Chmod(image, 0o644)
}

// kernelRelease returns what uname -r will say.
func kernelRelease(root string) (string, error) {
	dirs, err := filepath.Glob(filepath.Join(root, "usr/lib/modules/*"))
	if err != nil {
		return "", err
	}
	if len(dirs) != 1 {
		return "", fmt.Errorf("there are %d kernels in the root; wanted one", len(dirs))
	}
	return filepath.Base(dirs[0]), nil
}
