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
// FUZZ_TIME is how long, such as 5m; the default is 5s. An input that breaks a parser is kept below its testdata/fuzz.
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

// fuzzFile runs the fuzz tests of one file, one after the other: the go command runs only one at a time.
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
		// Minimizing an interesting input takes up to a minute by default, longer than the whole run.
		if err := fuzz(ctx, "test", "-run=^$", "-fuzz=^Fuzz"+name+"$", length, "-fuzzminimizetime=10x", pkg); err != nil {
			return err
		}
	}
	return nil
}

// fuzz runs the go command, again if it only failed because its time ended: then it found no failing input.
func fuzz(ctx context.Context, args ...string) error {
	var out strings.Builder
	err := run.Run(ctx, run.Cmd{Program: "go", Args: args, Env: os.Environ(), Stdout: io.MultiWriter(os.Stdout, &out)})
	if err != nil && ctx.Err() == nil && strings.Contains(out.String(), "    context deadline exceeded\nFAIL") {
		return goTool(ctx, args...)
	}
	return err
}
