package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/release/publish/nebraska"
)

// Nebraska tells an update server of a finished release, as the environment says: CODEBASE, and for a server NEBRASKA_URL,
// NEBRASKA_TOKEN, APP and CHANNEL. Without APPLY it writes to out what it would do; without a server, the answer
// that machines must get.
func Nebraska(ctx context.Context, o Options, getenv func(string) string, out io.Writer) error {
	apply, err := strconv.ParseBool(cmp.Or(getenv("APPLY"), "0"))
	if err != nil {
		return fmt.Errorf("APPLY=%s; wanted 1 or 0", getenv("APPLY"))
	}
	update, err := nebraska.Load(o.Dir(), getenv("CODEBASE"))
	if err != nil {
		return err
	}
	address := getenv("NEBRASKA_URL")
	if address == "" {
		if apply {
			return errors.New("APPLY without NEBRASKA_URL; wanted the address of a server")
		}
		return update.WriteOmaha(out)
	}
	to := nebraska.Place{App: cmp.Or(getenv("APP"), nebraska.FlatcarApp), Channel: getenv("CHANNEL")}
	if to.Channel == "" {
		return errors.New("CHANNEL: wanted the name of the channel to move, such as alpha")
	}
	server, err := nebraska.NewServer(address, getenv("NEBRASKA_TOKEN"), fetch.NewClient(o.Log))
	if err != nil {
		return err
	}
	if !apply {
		fmt.Fprintln(out, "nothing is changed without APPLY=1")
	}
	return server.Publish(ctx, update, to, apply, out)
}
