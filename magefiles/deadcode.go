//go:build mage

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/release/setup"
)

// measured is called by benchmarks of other packages only.
const measured = "unreachable func: Planner.Smallest"

// deadCode fails on functions that no target reaches. Functions used by tests only belong in the tests.
func deadCode(ctx context.Context) error {
	if err := os.MkdirAll(setup.CacheDir, 0o755); err != nil {
		return err
	}
	// Mage would write the main function beside the targets, where concurrent runs in this checkout write it too.
	dir, err := os.MkdirTemp(setup.CacheDir, "lint-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	main, err := writeMain(ctx, dir)
	if err != nil {
		return err
	}
	var found bytes.Buffer
	args := append([]string{"tool", "-modfile=.ci/lint/go.mod", "deadcode", "-filter=^(github.com/flatcar/oem-sysext|command-line-arguments)"}, main...)
	if err := run.Run(ctx, run.Cmd{Program: "go", Args: args, Env: os.Environ(), Stdout: &found}); err != nil {
		return err
	}
	var dead strings.Builder
	for line := range strings.Lines(found.String()) {
		if !strings.HasSuffix(strings.TrimSpace(line), measured) {
			dead.WriteString("\n" + strings.ReplaceAll(strings.TrimSpace(line), dir, "magefiles"))
		}
	}
	if dead.Len() > 0 {
		return fmt.Errorf("no target reaches these functions; remove them, or move what only tests use to the tests:%s", dead.String())
	}
	return nil
}

// writeMain copies the targets' files to a directory, generates mage's main function there, and returns all paths.
func writeMain(ctx context.Context, dir string) ([]string, error) {
	files, err := filepath.Glob("magefiles/*.go")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), content, 0o644); err != nil {
			return nil, err
		}
	}
	if err := goTool(ctx, "tool", "mage", "-d", dir, "-keep", "-compile", os.DevNull); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(dir, "*.go"))
}
