package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/bwrap"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Command is a command that must work in the merged system.
type Command struct {
	Run  string `json:"run"`            // a line for sh
	Says string `json:"says,omitempty"` // that its output has
}

// Failure is a command that does not work.
type Failure struct {
	Command int    `json:"command"` // its index
	Text    string `json:"text"`    // how it failed
}

// worksRevision is part of the cache key. Raise it when what a command sees, or the wording of a failure, changes.
const worksRevision = 1

// works makes what a machine has in /etc, /run and /var after oem-setup, then runs the command, whose status is the last line.
// A base's default /etc is left out: what a program needs of it, it may not have on a machine whose administrator began with an empty one.
const works = `cp /accounts/* /etc/
systemd-tmpfiles --create --exclude-prefix=/dev --exclude-prefix=/proc --exclude-prefix=/sys >/dev/null 2>&1
sh -c "$1" 2>&1
echo "
$?"`

const (
	worksTimeout = time.Minute
	worksMemory  = 2 << 30 // bytes, of one process
	worksFile    = 1 << 28 // bytes, of one file
)

// Works runs commands, each by itself, in a tree merged over the base, and returns those that fail.
//
// Each sees the merged /usr, an /etc with the accounts and what tmpfiles.d of base and image makes, and no network, device or file of the
// host. Capabilities and setuid bits of files have no effect there. Where the host cannot run the base's programs, nothing is run.
func (c *Checker) Works(ctx context.Context, t tree.Tree, commands []Command) ([]Failure, error) {
	if len(commands) == 0 || !c.Runs() {
		return nil, nil
	}
	step := c.results.Step("works", []any{worksRevision, c.base.Arch, c.digest, t, commands})
	return store.Memo(ctx, step, store.Nothing, func() ([]Failure, error) { return c.runAll(ctx, t, commands) })
}

// Runs tells whether programs of the base run on this host.
func (c *Checker) Runs() bool {
	_, has := c.base.Usr.Find("/usr/bin/sh")
	return has && string(c.base.Arch) == runtime.GOARCH
}

func (c *Checker) runAll(ctx context.Context, t tree.Tree, commands []Command) ([]Failure, error) {
	dir, err := os.MkdirTemp(c.scratch, "works.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	whole := func(image *os.Root, name string, e tree.Entry) error { return e.WriteTo(image, name, c.blobs.CopyTo) }
	if err := c.layOut(dir, t, whole); err != nil {
		return nil, err
	}
	var failures []Failure
	for i, command := range commands {
		text, err := c.runOne(ctx, dir, command)
		if err != nil {
			return nil, fmt.Errorf("works: %s: %w", command.Run, err)
		}
		if text != "" {
			failures = append(failures, Failure{i, text})
		}
	}
	return failures, nil
}

// runOne runs a command and returns how it failed; empty if it did not.
func (c *Checker) runOne(ctx context.Context, dir string, command Command) (string, error) {
	limited, cancel := context.WithTimeout(ctx, worksTimeout)
	defer cancel()
	out := &worksOutput{left: maxText}
	err := bwrap.Run(limited, run.Cmd{
		Program: "unshare",
		Args:    slices.Concat([]string{"--mount", "--", "sh", "-c", merge, "merge", dir}, worksSandbox(dir), []string{"sh", "-c", works, "works", command.Run}),
		Env:     append(slices.Clone(bwrap.Env), "HOME=/root"),
		Stdout:  out,
	})
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case limited.Err() != nil:
		return fmt.Sprintf("it takes longer than %v", worksTimeout), nil
	case out.left < 0:
		return fmt.Sprintf("it prints more than %d bytes", maxText), nil
	case err != nil:
		return "", err
	}
	return judgeOutput(out.kept.String(), command.Says)
}

// judgeOutput returns what is wrong with the output of works.
func judgeOutput(out, says string) (string, error) {
	at := strings.LastIndex(strings.TrimSuffix(out, "\n"), "\n")
	if at < 0 {
		return "", errors.New("the sandbox said nothing")
	}
	status, err := strconv.Atoi(strings.TrimSpace(out[at:]))
	if err != nil {
		return "", fmt.Errorf("the sandbox ended without a status: %w", err)
	}
	return Verdict(status, out[:at], says), nil
}

// Verdict says how a command failed that ended with a status and printed out; empty if it worked.
func Verdict(status int, out, says string) string {
	switch {
	case status != 0:
		return fmt.Sprintf("it ends with status %d%s", status, lastLine(out))
	case !strings.Contains(out, says):
		return fmt.Sprintf("its output lacks %q%s", says, lastLine(out))
	}
	return ""
}

// lastLine returns the last line of output, to be appended to a message.
func lastLine(out string) string {
	const longest = 300
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if last == "" {
		return " and says nothing"
	}
	return ": " + last[:min(len(last), longest)]
}

// worksSandbox returns bwrap arguments for the merged /usr.
func worksSandbox(dir string) []string {
	args := append([]string{"prlimit", "--core=1", fmt.Sprintf("--data=%d", worksMemory), fmt.Sprintf("--fsize=%d", worksFile), "bwrap"},
		bwrap.Root(bwrap.Alone, filepath.Join(dir, "usr"))...)
	args = slices.Concat(args, bwrap.ReadOnlyProc, []string{"--tmpfs", "/tmp", "--dir", "/root", "--dir", "/etc"})
	for _, name := range accountFiles {
		args = append(args, "--ro-bind", filepath.Join(dir, name), filepath.Join("/accounts", name))
	}
	return args
}

// worksOutput keeps output up to a limit. What is more is dropped, and left is negative.
type worksOutput struct {
	kept bytes.Buffer // not embedded: io.Copy would read into it
	left int
}

func (o *worksOutput) Write(p []byte) (int, error) {
	if o.left -= len(p); o.left >= 0 {
		o.kept.Write(p)
	}
	return len(p), nil
}
