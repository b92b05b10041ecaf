//go:build mage

package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/run"
)

// Fuzz runs every fuzz test for some seconds.
//
// FUZZ_TIME says how long, such as 5m; the default is 5s. An input that breaks a parser is kept below its testdata/fuzz.
func Fuzz(ctx context.Context) error {
	list, err := exec.CommandContext(ctx, "go", "list", "-f", `{{range .TestGoFiles}}{{$.ImportPath}} {{$.Dir}}/{{.}}{{"\n"}}{{end}}`, "./...").Output()
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(list)) {
		pkg, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		if err := fuzzFile(ctx, pkg, file); err != nil {
			return err
		}
	}
	return nil
}

// fuzzFile runs the fuzz targets of one file, each alone, as the go command wants it.
func fuzzFile(ctx context.Context, pkg, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(content)) {
		name, found := strings.CutPrefix(line, "func Fuzz")
		if !found {
			continue
		}
		name, _, _ = strings.Cut(name, "(")
		length := "-fuzztime=" + cmp.Or(os.Getenv("FUZZ_TIME"), "5s")
		// To make every interesting input as short as can be takes a minute each, which is more than the whole run has.
		if err := fuzz(ctx, "test", "-run=^$", "-fuzz=^Fuzz"+name+"$", length, "-fuzzminimizetime=10x", pkg); err != nil {
			return err
		}
	}
	return nil
}

// fuzz runs the go command, and once more when it fails of the end of its own time: it has found no input then, and says nothing else.
func fuzz(ctx context.Context, args ...string) error {
	var out strings.Builder
	err := run.Run(ctx, run.Cmd{Program: "go", Args: args, Env: os.Environ(), Stdout: io.MultiWriter(os.Stdout, &out)})
	if err != nil && ctx.Err() == nil && strings.Contains(out.String(), "    context deadline exceeded\nFAIL") {
		return goTool(ctx, args...)
	}
	return err
}
