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

// makeInitrd makes outDir/initrd with the root's own dracut.
func makeInitrd(ctx context.Context, def Initrd, kernel, root, outDir string, epoch time.Time) error {
	files := filepath.Join(root, initrdFiles)
	defer os.RemoveAll(files)
	if err := copyFiles("files/initrd", files); err != nil {
		return err
	}
	if err := makeLinks(files, def.Links); err != nil {
		return err
	}
	tools, err := toolroot.At(root)
	if err != nil {
		return err
	}
	initrd := filepath.Join(outDir, "initrd")
	clock := []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(epoch.Unix(), 10)}
	err = tools.Run(ctx, toolroot.Cmd{
		Program: "dracut",
		Args: []string{
			"--reproducible", "--no-machineid", "--no-hostonly", "--no-hostonly-cmdline", "--no-early-microcode", "--zstd",
			"--kver", kernel, "--tmpdir", "/tmp",
			"--modules", strings.Join(def.Modules, " "),
			"--add-drivers", strings.Join(def.Drivers, " "),
			"--install", strings.Join(def.Programs, " "),
			"--include", "/" + initrdFiles, "/",
			initrd,
		},
		Write: []string{outDir},
		Env:   clock,
	})
	if err == nil && def.TwoStage {
		err = splitStages(ctx, tools, def, kernel, root, outDir, clock)
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
func splitStages(ctx context.Context, tools *toolroot.Root, def Initrd, kernel, root, outDir string, clock []string) error {
	files := filepath.Join(root, stageFiles)
	defer os.RemoveAll(files)
	if err := copyFiles("files/two-stage", files); err != nil {
		return err
	}
	err := tools.Run(ctx, toolroot.Cmd{
		Program: "/" + stageFiles + "/make", Args: append([]string{kernel, outDir}, def.Drivers...),
		Write: []string{outDir}, Env: clock,
	})
	if err != nil {
		return err
	}
	image := filepath.Join(root, secondStage)
	if err := makeDirs(filepath.Dir(image)); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(outDir, "bootengine.img"), image); err != nil {
		return err
	}
	if err := copyFiles("files/two-stage/both", root); err != nil { // of the second stage and the system
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
