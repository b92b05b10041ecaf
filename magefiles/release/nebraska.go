package release

import (
	"context"

	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/release/publish/nebraska"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Nebraska registers the finished release with an update server when APPLY is 1, and otherwise prints what it would do.
//
// VERSION, ARCH and OUTPUT choose the release. CODEBASE is the address of the directory where machines will find its payloads.
// NEBRASKA_URL is the server, NEBRASKA_TOKEN its bearer token if it needs one, APP the application's name or id
// (Flatcar's when empty), CHANNEL the channel to point at the release. DELTA is the version that all its machines run, where they are to
// get the update from that, with only what has changed; it is refused for a channel with machines of other versions.
// Without NEBRASKA_URL it prints the answer that any Omaha server must give.
func Nebraska(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		return nebraska.Register(ctx, o, target.Out())
	})
}
