package nebraska

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Register registers a finished release on an update server, as the options say. Without APPLY it writes to out what it would
// do; without a server, the answer that machines must get.
func Register(ctx context.Context, o setup.Options, out io.Writer) error {
	update, err := Load(o.Dir(), o.Nebraska.CodeBase, o.Nebraska.Delta)
	if err != nil {
		return err
	}
	address := o.Nebraska.URL
	if address == "" {
		if o.Nebraska.Register {
			return errors.New("APPLY without NEBRASKA_URL; wanted the address of a server")
		}
		return update.WriteOmaha(out)
	}
	to := Place{App: cmp.Or(o.Nebraska.App, FlatcarApp), Channel: o.Nebraska.Channel}
	if to.Channel == "" {
		return errors.New("CHANNEL: wanted the name of the channel to move, such as alpha")
	}
	server, err := NewServer(address, o.Nebraska.Token, fetch.NewClient(o.Log))
	if err != nil {
		return err
	}
	if !o.Nebraska.Register {
		fmt.Fprintln(out, "nothing is changed without APPLY=1")
	}
	return server.Publish(ctx, update, to, o.Nebraska.Register, out)
}
