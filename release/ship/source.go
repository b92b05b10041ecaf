package ship

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// source returns the commit of the checkout, and whether files differ from it; nil when it is no clone. When git does not tell, as of a
// checkout of another user, the release does not name a commit, and that is said.
func (s *Shipper) source(ctx context.Context) *manifest.Source {
	if s.Source != nil {
		return s.Source
	}
	if _, err := os.Lstat(filepath.Join(s.Checkout, ".git")); err != nil {
		return nil
	}
	commit, err := git(ctx, s.Checkout, "rev-parse", "HEAD")
	if err != nil {
		s.Bench.Log.Warn("the release does not name its commit", "error", err)
		return nil
	}
	changed, err := git(ctx, s.Checkout, "status", "--porcelain")
	if err != nil {
		s.Bench.Log.Warn("whether files differ from the commit is not known, so the release says that they do", "error", err)
	}
	return &manifest.Source{Commit: commit, Dirty: err != nil || changed != ""}
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	// A checkout's configuration could name a program to run.
	args = append([]string{"-C", dir, "-c", "core.fsmonitor=false", "--no-optional-locks"}, args...)
	out, err := run.Output(ctx, run.Cmd{Program: "git", Args: args, Env: run.HostEnv("PATH", "HOME", "SUDO_UID")})
	return strings.TrimSpace(string(out)), err
}
