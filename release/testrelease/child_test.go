package testrelease

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/publish/ci"
	"github.com/flatcar/oem-sysext/release/setup"
)

// envChild is set in a child process of a test: the childRun that it does instead of tests.
const envChild = "RELEASE_TEST_CHILD"

// childRun is what a process of its own does, so that it can be killed, or its processor time be told.
type childRun struct {
	Do                      string  // build, assemble, prepare, or shard
	Part                    ci.Part // to be made
	Checkout, Cache, Output string
	Version, BaseID         string
	Arch                    arch.Arch
	Read                    []string // remote caches
	Write                   string
}

// childOf has those options that tests change.
func childOf(o setup.Options, what string, part ci.Part) childRun {
	return childRun{what, part, o.Checkout, o.Cache, o.Output, o.Version, o.BaseID, o.Arch, o.RemoteCache, o.RemoteCacheWrite}
}

func (c childRun) command(ctx context.Context, log io.Writer) *exec.Cmd {
	encoded, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings and numbers
	}
	child := exec.CommandContext(ctx, os.Args[0])
	child.Env = append(os.Environ(), envChild+"="+string(encoded))
	child.Stderr = log
	return child
}

// doInChild is what a child process does.
func doInChild(encoded string) error {
	var c childRun
	if err := json.Unmarshal([]byte(encoded), &c); err != nil {
		return err
	}
	o := optionsIn(c.Cache, c.Output, os.Stderr)
	o.Checkout, o.RemoteCache, o.RemoteCacheWrite = c.Checkout, c.Read, c.Write
	o.Version = cmp.Or(c.Version, o.Version)
	o.Arch, o.BaseID = c.Arch, c.BaseID
	switch c.Do {
	case "build":
		_, err := release.Build(context.Background(), o)
		return err
	case "assemble":
		_, err := release.Assemble(context.Background(), o)
		return err
	case "prepare":
		return ci.Prepare(context.Background(), o)
	case "shard":
		return ci.Shard(context.Background(), o, c.Part, os.Stderr)
	}
	return fmt.Errorf("nothing does %q", c.Do)
}
