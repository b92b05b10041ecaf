package base

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/toolroot"
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
			"--reproducible", "--no-machineid", "--no-hostonly", "--no-hostonly-cmdline", "--no-early-microcode", "--no-compress",
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
	if err == nil {
		err = makeStages(ctx, tools, def, kernel, root, outDir, clock)
	}
	if err != nil {
		return err
	}
	return os.Chmod(initrd, 0o644) // dracut keeps others from reading it; there is no secret in it
}

// secondStage is where Flatcar's first stage looks for the second one.
const secondStage = "usr/lib/flatcar/bootengine.img"

// stageFiles is where the files of the stages are while the root's programs work on them.
const stageFiles = "usr/lib/initrd-stages"

// makeStages makes what is booted of dracut's outDir/initrd. Of two stages the second one moves to the root.
func makeStages(ctx context.Context, tools *toolroot.Root, def Initrd, kernel, root, outDir string, clock []string) error {
	files := filepath.Join(root, stageFiles)
	defer os.RemoveAll(files)
	if err := copyFiles("files/stages", files); err != nil {
		return err
	}
	args := []string{kernel, outDir}
	if def.TwoStage {
		args = append(args, def.Drivers...)
	}
	err := tools.Run(ctx, toolroot.Cmd{Program: "/" + stageFiles + "/make", Args: args, Write: []string{outDir}, Env: clock})
	if err != nil || !def.TwoStage {
		return err
	}
	image := filepath.Join(root, secondStage)
	if err := makeDirs(filepath.Dir(image)); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(outDir, "bootengine.img"), image); err != nil {
		return err
	}
	if err := copyFiles("files/stages/both", root); err != nil { // of the second stage and the system
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
