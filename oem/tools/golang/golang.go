// Package golang runs the Go toolchain of the host.
package golang

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

// Toolchain is the host's Go toolchain, with its module proxy and caches but no other environment.
type Toolchain struct {
	Version string // output of "go version"
	env     []string
}

// passed are the settings taken from the host: where modules come from, how they are verified, where they are cached.
var passed = []string{"GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOAUTH", "GOMODCACHE", "GOCACHE", "GOPATH", "GOROOT"}

// Find runs the host's go command for its version and configuration.
func Find(ctx context.Context) (*Toolchain, error) {
	host := run.HostEnv("PATH", "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "GOENV", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
		"http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC")
	asking := append(host, run.HostEnv(passed...)...)
	version, err := run.Output(ctx, run.Cmd{Program: "go", Args: []string{"version"}, Env: asking})
	if err != nil {
		return nil, err
	}
	values, err := run.Output(ctx, run.Cmd{Program: "go", Args: append([]string{"env", "-json"}, passed...), Env: asking})
	if err != nil {
		return nil, err
	}
	var config map[string]string
	if err := json.Unmarshal(values, &config); err != nil {
		return nil, fmt.Errorf("go env -json: %w", err)
	}
	env := append(host, "GOENV=off", "GOTOOLCHAIN=local", "GOWORK=off", "GOOS=linux", "CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=-mod=readonly -trimpath -buildvcs=false", "LC_ALL=C.UTF-8", "TZ=UTC")
	for name, value := range config {
		env = append(env, name+"="+value)
	}
	return &Toolchain{Version: strings.TrimSpace(string(version)), env: env}, nil
}

// Module is a version of a module, with its sum as in go.sum.
type Module struct{ Path, Version, Sum string }

// Program is a main package of a module, and the path of its executable.
type Program struct{ Package, To string }

// Source downloads a module, verifies its sum and returns its source directory.
// The go command also verifies it with the host's checksum database, and its dependencies with the module's go.sum.
func (g *Toolchain) Source(ctx context.Context, m Module) (string, error) {
	found, err := g.Download(ctx, m)
	if err != nil {
		return "", err
	}
	// A module from before there were such files has none.
	content, err := os.ReadFile(filepath.Join(found.Dir, "go.mod"))
	if path := modfile.ModulePath(content); err == nil && path != m.Path {
		return "", fmt.Errorf("module %s@%s says in its go.mod that it is %q; wanted %s", m.Path, m.Version, path, m.Path)
	}
	return found.Dir, nil
}

// Downloaded is the go command's description of a module (go help mod download).
type Downloaded struct{ Dir, Zip, Sum, Error string }

// Download fetches a module and verifies its sum.
func (g *Toolchain) Download(ctx context.Context, m Module) (Downloaded, error) {
	found, err := g.fetch(ctx, m.Path, m.Version)
	if err == nil && found.Sum != m.Sum {
		err = fmt.Errorf("module %s@%s has the sum %s; wanted %s as in the recipe", m.Path, m.Version, found.Sum, m.Sum)
	}
	return found, err
}

func (g *Toolchain) fetch(ctx context.Context, module, version string) (Downloaded, error) {
	out, err := g.outside(ctx, "mod", "download", "-json", module+"@"+version)
	var found Downloaded
	if jsonErr := json.Unmarshal(out, &found); jsonErr != nil && err == nil {
		err = jsonErr
	}
	if found.Error != "" {
		return found, fmt.Errorf("module %s@%s: %s", module, version, found.Error)
	}
	return found, err
}

// outside runs the go command in an empty module. In a directory for all users it would find the module of another one.
func (g *Toolchain) outside(ctx context.Context, args ...string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "go.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module outside\n"), 0o600); err != nil {
		return nil, err
	}
	return run.Output(ctx, run.Cmd{Program: "go", Args: args, Dir: dir, Env: g.env})
}

// Versions returns the versions of a module on the proxy, and the latest one.
func (g *Toolchain) Versions(ctx context.Context, module string) ([]string, error) {
	var found struct {
		Version  string
		Versions []string
	}
	out, err := g.outside(ctx, "list", "-m", "-json", "-versions", module+"@latest")
	if err == nil {
		err = json.Unmarshal(out, &found)
	}
	return append(found.Versions, found.Version), err
}

// Sum returns the sum of a module's version. The go command verifies it with the host's checksum database.
func (g *Toolchain) Sum(ctx context.Context, module, version string) (string, error) {
	found, err := g.fetch(ctx, module, version)
	return found.Sum, err
}

// Build builds a main package of a module for an architecture: static, stripped, reproducible with the same toolchain.
func (g *Toolchain) Build(ctx context.Context, moduleDir string, a arch.Arch, program Program, root string) error {
	if err := g.isProgram(ctx, moduleDir, a, program.Package); err != nil {
		return err
	}
	to := filepath.Join(root, program.To)
	err := run.Run(ctx, run.Cmd{
		Program: "go",
		Args:    []string{"build", "-ldflags=-s -w -buildid=", "-o", to, program.Package},
		Dir:     moduleDir,
		Env:     append(slices.Clone(g.env), "GOARCH="+string(a)),
	})
	if err != nil {
		return g.explain(ctx, moduleDir, a, program.Package, err)
	}
	return os.Chmod(to, 0o755) // whatever the umask
}
