// Package base makes reference bases: bootable stand-ins for a Flatcar release, assembled from Debian packages.
//
// A reference base has Flatcar's layout and identity (ID=flatcar, the default /etc in /usr/share/flatcar/etc, verity and
// mount arguments on the kernel command line) but neither Flatcar's programs nor its kernel.
package base

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/sealed"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/bootstrap"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
)

// Base is an OS release that images are built for and embedded in: a reference base, or one of Flatcar's own.
// Its files belong to the cache: read them, never write them. A file that it has not is an empty string.
type Base struct {
	ID        string // a reference base's, such as trixie; flatcar for all of Flatcar's own
	Version   string // VERSION in os-release, such as 9999.0.0 or 9999.0.0+nightly
	VersionID string // VERSION_ID in os-release: the version without what follows a plus sign
	Build     string // BUILD_ID in os-release
	Arch      string // as Debian names it
	Systemd   string // its version, such as 257.13; of some bases only the first number is known
	Release   string // the kernel's, as uname -r prints it
	Usr       string // the directory that becomes /usr
	Kernel    string
	Config    string // what the kernel was built with, its .config
	Initrd    string // none where the kernel holds it
	Status    string // Debian's package database, of what is really there
	Packages  string // the list of Gentoo's packages that Flatcar publishes beside an image; empty when it was not there

	Image    string        // the USR partition that it came as; without one it is made of Usr
	Disk     string        // the disk image that the partition came in
	Source   digest.SHA256 // of the file that all this came in; zero for a reference base
	RootHash digest.SHA256 // of the partition as it came
	Embeds   []string      // names of images that the partition has already
	Epoch    time.Time     // when it was made; zero for a reference base
}

// Options say where a base comes from and where it is kept.
type Options struct {
	CacheDir    string // must exist
	Results     *store.Results
	Arch        string   // as Debian names it
	Version     string   // three numbers, and optionally a plus sign and the name of a build
	Sources     []string // sources.list lines of the definition's suite
	Keyring     string   // file with the OpenPGP keys that may sign these
	Tools       *toolroot.Root
	Fingerprint string    // of what the sources hold: with another one the base is assembled anew
	Epoch       time.Time // no file is younger than this
	Log         *slog.Logger
}

// KernelArguments are what the base's initramfs needs to find /usr, as Flatcar's boot loader passes them.
// The root file system is in memory unless a later root= says otherwise.
func KernelArguments(partitionUUID string, rootHash digest.SHA256) []string {
	return []string{
		"root=tmpfs", "rw",
		"mount.usr=/dev/mapper/usr", "mount.usrfstype=btrfs",
		"mount.usrflags=ro,rescue=nologreplay", // nothing can be written on verity, not even a log's replay
		"verity.usr=PARTUUID=" + partitionUUID,
		"verity.usrhash=" + rootHash.String(),
	}
}

// Programs are the host programs that Make runs.
func Programs() []string { return append(bootstrap.Programs(), "bwrap", "cp") }

// Make returns the base of a definition from the cache, and assembles it first where needed: about a minute.
// Another version of the same base takes a second. It needs to be root, and a host that runs programs of the architecture (CanRun),
// which takes some twenty minutes by an emulator.
func Make(ctx context.Context, def Definition, opts Options) (Base, error) {
	id, err := VersionID(opts.Version)
	if err != nil {
		return Base{}, err
	}
	def = def.forArch(opts.Arch)
	key, err := key(ctx, def, opts)
	if err != nil {
		return Base{}, err
	}
	core := filepath.Join(opts.CacheDir, fmt.Sprintf("base-%s-%s", def.ID, key.Short()))
	err = store.Dir(ctx, opts.Results, core, key, sealed.Filled(func(temp string) error { return assemble(ctx, def, opts, temp) }))
	if err == nil {
		err = sealed.Check(core)
	}
	if err != nil {
		return Base{}, fmt.Errorf("assemble base %s: %w", def.ID, err)
	}
	usr := core + "-" + opts.Version
	err = atomicfile.Dir(usr, sealed.Filled(func(temp string) error { return stamp(ctx, def, core, temp, opts) }))
	if err == nil {
		err = sealed.Check(usr)
	}
	if err != nil {
		return Base{}, fmt.Errorf("base %s as version %s: %w", def.ID, opts.Version, err)
	}
	status := filepath.Join(core, "status")
	pkgs, err := readStatus(status)
	if err != nil {
		return Base{}, err
	}
	release, err := kernelRelease(usr)
	if err != nil {
		return Base{}, err
	}
	return Base{
		ID: def.ID, Version: opts.Version, VersionID: id, Arch: opts.Arch,
		Systemd: upstreamVersion(pkgs, "systemd"),
		Release: release,
		Usr:     filepath.Join(usr, "usr"),
		Kernel:  filepath.Join(core, "vmlinuz"),
		Config:  filepath.Join(core, "kernel.config"),
		Initrd:  filepath.Join(core, "initrd"),
		Status:  status,
	}, nil
}

// mmdebstrapVersion asks the program, which takes half a second, once for each content of it.
func mmdebstrapVersion(ctx context.Context, results *store.Results) (string, error) {
	program, err := exec.LookPath("mmdebstrap")
	if err != nil {
		return "", err
	}
	d, _, err := digest.OfFile(program)
	if err != nil {
		return "", err
	}
	return store.Memo(ctx, results.Step("mmdebstrap", d), store.Nothing, func() (string, error) {
		version, err := run.Output(ctx, run.Cmd{Program: program, Args: []string{"--version"}, Env: run.HostEnv("PATH")})
		return string(version), err
	})
}

// key is the digest of all that decides a base's bytes, its version apart.
func key(ctx context.Context, def Definition, opts Options) (digest.SHA256, error) {
	mmdebstrap, err := mmdebstrapVersion(ctx, opts.Results)
	if err != nil {
		return digest.SHA256{}, err
	}
	files := map[string]string{}
	err = fs.WalkDir(embedded, "files", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name == "files/two-stage" && !def.Initrd.TwoStage {
				return fs.SkipDir
			}
			return nil
		}
		content, err := embedded.ReadFile(name)
		files[name] = string(content)
		return err
	})
	if err != nil {
		return digest.SHA256{}, err
	}
	var tools map[string]string
	if def.Confext {
		tools = opts.Tools.Versions("squashfs-tools")
	}
	return digest.OfInputs(struct {
		Format      int // counts changes of this package that change the result
		Definition  Definition
		Files       map[string]string
		Arch        string
		Fingerprint string
		Epoch       int64
		Mmdebstrap  string
		Tools       map[string]string `json:",omitempty"`
	}{3, def, files, opts.Arch, opts.Fingerprint, opts.Epoch.Unix(), mmdebstrap, tools})
}

// assemble makes all of a base but its version: usr, vmlinuz, kernel.config, initrd and status in dir.
func assemble(ctx context.Context, def Definition, opts Options, dir string) error {
	root := filepath.Join(dir, "root")
	err := bootstrap.Make(ctx, bootstrap.Spec{
		Suite:    def.Suite,
		Arch:     opts.Arch,
		Packages: slices.Concat(def.Packages, def.Build),
		Exclude:  def.Exclude,
		Sources:  opts.Sources,
		Keyring:  opts.Keyring,
		Epoch:    opts.Epoch,
	}, root, opts.Log)
	if err != nil {
		return err
	}
	kernel, err := kernelRelease(root)
	if err != nil {
		return err
	}
	opts.Log.Info("making the initramfs", "base", def.ID, "kernel", kernel)
	initrd := initrdOf{def.Initrd, kernel, root, dir, opts.Epoch}
	if err := initrd.make(ctx); err != nil {
		return err
	}
	status, err := arrange(def, root)
	if err != nil {
		return err
	}
	if def.Confext {
		if err := makeConfext(ctx, opts.Tools, root, opts.Epoch); err != nil {
			return err
		}
	}
	if err := atomicfile.WriteBytes(filepath.Join(dir, "status"), 0o644, status); err != nil {
		return err
	}
	for from, to := range map[string]string{"vmlinuz-": "vmlinuz", "config-": "kernel.config"} {
		if err := os.Rename(filepath.Join(root, "boot", from+kernel), filepath.Join(dir, to)); err != nil {
			return err
		}
	}
	usr := filepath.Join(dir, "usr")
	if err := os.Rename(filepath.Join(root, "usr"), usr); err != nil {
		return err
	}
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	return bootstrap.ClampTimes(usr, opts.Epoch)
}
