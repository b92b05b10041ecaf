//go:build nightly

package testreaders

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/check/elf"
	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/archive"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
)

//go:embed testdata/real.yaml
var realList []byte

// real is what the file lists.
type real struct {
	Tarballs []struct {
		Name   string      `yaml:"name,required"`
		File   string      `yaml:"file,required"`
		Size   lock.Size   `yaml:"size,required"`
		Digest lock.Digest `yaml:"digest,required"`
	} `yaml:"tarballs,required"`
	Modules []struct {
		Module string      `yaml:"module,required"`
		Size   lock.Size   `yaml:"size,required"`
		Digest lock.Digest `yaml:"digest,required"`
	} `yaml:"modules,required"`
}

// TestNightlyRealInputs reads what upstreams publish, completely: all Debian packages of the lock files with every ELF file in them, large
// tarballs and modules, and the package indexes. What is refused here is refused to somebody.
func TestNightlyRealInputs(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, "go")
	var list real
	if err := strictyaml.Decode("real.yaml", realList, &list).Err(); err != nil {
		t.Fatal(err)
	}
	debs := lockedDebs(t)
	if len(debs) < 150 || len(list.Tarballs) < 20 || len(list.Modules) < 8 {
		t.Fatalf("%d packages, %d tarballs and %d modules; wanted more", len(debs), len(list.Tarballs), len(list.Modules))
	}
	from, dir := toolroottest.Archive(t), t.TempDir()
	var work []func(ctx context.Context, root *os.Root) error
	for _, deb := range debs {
		work = append(work, func(ctx context.Context, root *os.Root) error { return readDeb(ctx, from, deb, root) })
	}
	for _, one := range list.Tarballs {
		work = append(work, func(ctx context.Context, root *os.Root) error {
			path, err := from.Deb(ctx, debian.Package{Name: one.Name, Pocket: "trixie", Filename: one.File, Size: size.Bytes(one.Size), SHA256: lock.Pin{Digest: one.Digest}.SHA256()})
			if err != nil {
				return err
			}
			in, err := os.Open(path)
			if err != nil {
				return err
			}
			defer in.Close()
			return archive.Tar(in, root, archive.Options{Name: one.File})
		})
	}
	for _, one := range list.Modules {
		work = append(work, func(ctx context.Context, root *os.Root) error {
			return readModule(ctx, one.Module, string(one.Digest), root)
		})
	}
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(2)
	for i, read := range work {
		group.Go(func() error {
			to := filepath.Join(dir, fmt.Sprint(i))
			if err := os.Mkdir(to, 0o755); err != nil {
				return err
			}
			defer os.RemoveAll(to)
			root, err := os.OpenRoot(to)
			if err != nil {
				return err
			}
			defer root.Close()
			if err := read(ctx, root); err != nil {
				t.Error(err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, suite := range []string{"bookworm", "trixie", "forky"} {
		for _, a := range arch.All {
			release, err := from.Release(t.Context(), suite, string(a))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := release.Packages(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	t.Logf("%d packages, %d tarballs, %d modules", len(debs), len(list.Tarballs), len(list.Modules))
}

// lockedDebs are the Debian packages of all lock files, each once.
func lockedDebs(t *testing.T) (all []debian.Package) {
	t.Helper()
	files, err := filepath.Glob("../../recipes/*/" + lock.FileName)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		l, err := lock.Read(os.DirFS(filepath.Dir(file)), lock.FileName)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range l.Sources {
			for _, p := range append(s.AMD64, s.ARM64...) {
				if strings.HasSuffix(p.File, ".deb") && !seen[p.File] {
					seen[p.File] = true
					all = append(all, debian.Package{Name: p.Name, Version: p.Version, Pocket: p.From, Filename: p.File, Size: size.Bytes(p.Size), SHA256: p.SHA256()})
				}
			}
		}
	}
	return all
}

// readDeb unpacks all of a package, and reads its install script and ELF files.
func readDeb(ctx context.Context, from *repository.Archive, p debian.Package, root *os.Root) error {
	path, err := from.Deb(ctx, p)
	if err != nil {
		return err
	}
	if _, err := debian.Unpack(path, debian.Identity{Name: p.Name, Version: p.Version}, root, func(string) bool { return true }); err != nil {
		return err
	}
	if _, err := debian.InstallScript(path, debian.AfterUnpacking); err != nil {
		return err
	}
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		file, err := root.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		head := make([]byte, 4)
		if n, _ := file.ReadAt(head, 0); n < len(head) || !elf.Is(head) {
			return nil
		}
		if _, err := elf.Read(file); err != nil {
			return fmt.Errorf("%s: %s: %w", p.Filename, name, err)
		}
		return nil
	})
}

// readModule unpacks the archive of a module, which the go command fetches and verifies.
func readModule(ctx context.Context, module, want string, root *os.Root) error {
	var out bytes.Buffer
	if err := run.Run(ctx, run.Cmd{Program: "go", Args: []string{"mod", "download", "-json", module}, Dir: os.TempDir(), Env: os.Environ(), Stdout: &out}); err != nil {
		return err
	}
	var said struct{ Zip, Error string }
	if err := json.Unmarshal(out.Bytes(), &said); err != nil || said.Error != "" {
		return errors.Join(err, errors.New(said.Error))
	}
	in, err := os.Open(said.Zip)
	if err != nil {
		return err
	}
	defer in.Close()
	sum, n, err := digest.OfReader(in)
	if err != nil || "sha256:"+sum.String() != want {
		return errors.Join(err, fmt.Errorf("%s has the digest %v; wanted %s", module, sum, want))
	}
	return archive.Zip(in, n, root, archive.Options{Name: module})
}
