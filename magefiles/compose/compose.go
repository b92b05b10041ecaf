// Package compose holds the targets in the namespace compose.
package compose

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/release/plan/compose/torcx"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Torcx converts a Torcx package into a directory that a profile takes as an extension.
//
// The argument is the file, such as docker:20.10.torcx.tgz. It goes to _output/torcx/NAME, which must be empty or missing. OUTPUT is the
// directory in place of _output.
func Torcx(ctx context.Context, file string) error {
	return target.With(ctx, func(_ context.Context, o setup.Options) error {
		to := filepath.Join(o.Output, "torcx", strings.TrimSuffix(filepath.Base(file), ".torcx.tgz"))
		if err := torcx.Convert(file, to, os.TempDir()); err != nil {
			return err
		}
		fmt.Printf("use %s as directory: of an extension in a profile\n", to)
		return nil
	})
}
