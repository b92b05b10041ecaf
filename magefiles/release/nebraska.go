package release

import (
	"context"
	"os"

	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/release/publish/nebraska"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Nebraska tells an update server of the finished release in _output, and prints what it would do until APPLY is 1.
//
// VERSION, ARCH and OUTPUT choose the release. CODEBASE is the address of the directory where machines will find its payloads.
// NEBRASKA_URL is the server, NEBRASKA_TOKEN its bearer token if it wants one, APP the application's name or id
// (Flatcar's when empty), CHANNEL the channel that is moved to the release.
// Without NEBRASKA_URL it prints what any server of the Omaha protocol has to answer.
func Nebraska(ctx context.Context) error {
	return target.With(func(o setup.Options) error {
		return nebraska.Register(ctx, o, os.Stdout)
	})
}
