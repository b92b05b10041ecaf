package build

import (
	"context"
	"fmt"
	"os"
	"path"
	"strconv"

	"github.com/flatcar/oem-sysext/oem/source/dir"
	"github.com/flatcar/oem-sysext/oem/tools/sandbox"
)

// Directories of a script's inputs.
const (
	recipeDir  = "/recipe"  // the script's directory beside the recipe
	sourcesDir = "/sources" // the unpacked sources, with paths as in the image
)

// script runs the recipe's script on the unpacked sources, and unpacks its output.
func (b *Builder) script(ctx context.Context, r *Resolved, root *os.Root) error {
	sources, err := newRoot(b.Scratch)
	if err != nil {
		return err
	}
	defer removeRoot(sources)
	if err := b.gather(ctx, r, sources); err != nil {
		return err
	}
	s := r.Recipe.Build.Script
	own, err := newRoot(b.Scratch)
	if err != nil {
		return err
	}
	defer removeRoot(own)
	// A copy has the modes that the cache key has, and binding it follows no link of the recipe.
	if err := dir.Copy(own, b.Env(), r.Recipe, s.Dir(), "/"); err != nil {
		return err
	}
	tools, err := b.open(ctx, scriptToolset(s))
	if err != nil {
		return err
	}
	job := sandbox.Job{
		Tools:  tools,
		Script: path.Join(recipeDir, s.Run.Value[len(s.Dir()):]),
		Inputs: map[string]string{recipeDir: own.Name(), sourcesDir: sources.Name()},
		Env: map[string]string{
			"ARCH": string(r.Arch), "TRIPLET": r.Arch.Triplet(), "SOURCES": sourcesDir, "RECIPE": recipeDir,
			"SOURCE_DATE_EPOCH": strconv.FormatInt(b.Epoch.Unix(), 10),
		},
		Timeout: s.Timeout.Duration(),
		Size:    s.Output.Limit(),
		Memory:  s.Memory.Limit(),
	}
	if err := job.Run(ctx, root); err != nil {
		return fmt.Errorf("%s:%d: %w", r.Recipe.File, s.Line, err)
	}
	return nil
}
