//go:build mage

package main

import (
	"context"
	"os"

	"github.com/flatcar/oem-sysext/oem/host/run"
)

// goTool runs the go command with the parts of the environment that it needs.
func goTool(ctx context.Context, args ...string) error {
	return run.Run(ctx, run.Cmd{Program: "go", Args: args, Env: os.Environ(), Stdout: os.Stdout})
}
