// Package prove holds the targets in the namespace prove.
package prove

import (
	"context"
	"os"
	"os/exec"

	"github.com/flatcar/oem-sysext/magefiles/show"
	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/release/prove"
	"github.com/flatcar/oem-sysext/release/prove/composed"
	"github.com/flatcar/oem-sysext/release/prove/earlyboot"
	"github.com/flatcar/oem-sysext/release/prove/faults"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Platform boots the release in a virtual machine of one cloud and asserts what it promises.
//
// The argument is the platform's id, such as azure. VERSION, ARCH and OUTPUT choose the release, _output/VERSION/ARCH.
func Platform(ctx context.Context, id string) error {
	return target.For(ctx, id, func(ctx context.Context, o setup.Options) error {
		proven, err := prove.ThisRelease(ctx, o)
		if err != nil {
			return err
		}
		return show.Proof(show.To(o), proven)
	})
}

// Rollback updates a machine of one cloud to the release and rolls it back when a health check fails.
//
// The first argument is the version of an older release in _output, the second one the platform's id, or all.
// VERSION, ARCH and OUTPUT choose the release that it is updated to. If that was made with DELTA_FROM for that version, the machine gets
// only what has changed.
func Rollback(ctx context.Context, from, id string) error {
	return tell(ctx, prove.Rollback, from, id)
}

// Downgrade installs an older release on a machine of one cloud that runs the release, and boots it twice.
//
// The first argument is the version of the older release in _output, the second one the platform's id, or all.
// VERSION, ARCH and OUTPUT choose the release that it goes back from.
func Downgrade(ctx context.Context, to, id string) error {
	return tell(ctx, prove.Downgrade, to, id)
}

// Soak refreshes the extensions of a running machine of one cloud again and again, and asserts that nothing leaks.
//
// The argument is the platform's id. REFRESHES is the number of refreshes, 200 by default. Mounts, loop devices and memory must
// not grow after the first ten, and programs of the base must be available all the time.
func Soak(ctx context.Context, id string) error {
	return target.For(ctx, id, func(ctx context.Context, o setup.Options) error {
		proven, err := prove.Soak(ctx, o)
		if err != nil {
			return err
		}
		return show.Proof(show.To(o), proven)
	})
}

// Faults kills runs of release, fills their disks and damages their caches, and asserts that nothing of that stays.
//
// FAULTS is the number of runs to disturb, 18 by default. All that is random is chosen by SEED. After each, the next run must give the bytes
// of an undisturbed one. It works in CACHE and takes about three times as long as a release without results, for each.
func Faults(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		command := func(cache, output string) *exec.Cmd {
			c := exec.Command(self, "release") // prove.Faults ends it
			c.Env = append(os.Environ(), "CACHE="+cache, "OUTPUT="+output)
			return c
		}
		held, err := prove.Faults(ctx, o, command, func(one faults.Outcome) { show.Fault(os.Stdout, one) })
		if err != nil {
			return err
		}
		return show.Faults(os.Stdout, held, int(o.Proof.Faults), o.Proof.Seed)
	})
}

// Fleet updates machines that Flatcar installed, in all states that they can be in, to the release, and lets them go back.
//
// The argument is the platform's id, or all for one whose tools are in several images. VERSION, ARCH and OUTPUT choose the release, which
// must be on a reference base. A disk stands for the network where there is one; the machines come from a release that embeds nothing for them.
func Fleet(ctx context.Context, id string) error {
	return tell(ctx, func(ctx context.Context, o setup.Options, _ string) (*proof.Proof, error) { return prove.Fleet(ctx, o) }, "", id)
}

// Tamper flips bits of the release in a machine of one cloud and asserts that an older release comes up instead.
//
// The older release must also refuse images that are not for it. The first argument is its version in _output, the second one the
// platform's id, or all. VERSION, ARCH and OUTPUT choose the release that is damaged; its files are not.
func Tamper(ctx context.Context, from, id string) error {
	return tell(ctx, prove.Tamper, from, id)
}

func tell(ctx context.Context, story func(context.Context, setup.Options, string) (*proof.Proof, error), from, id string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		if id != "all" {
			o.Platforms = []string{id}
		}
		proven, err := story(ctx, o, from)
		if err != nil {
			return err
		}
		return show.Proof(show.To(o), proven)
	})
}

// Initramfs boots the base with a platform's image in its initramfs and asserts that it is merged early and handed over.
//
// BASE is the OS release, VERSION that of a reference base. Further boots, without the image, show that the assertion can fail.
// If archives are appended, more boots follow: a machine finds its disk only with a module of the image, archives are unpacked in
// all orders and compressions, and broken or unsigned ones are rejected as initrd:list predicts.
func Initramfs(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		proven, err := earlyboot.Prove(ctx, o)
		if err != nil {
			return err
		}
		return show.Proof(show.To(o), proven)
	})
}

// Compose boots machines of a composed release with one set of enabled extensions after the other, and an older release.
//
// The extensions are made from Debian packages by other programs than ours. BASE is the reference base.
func Compose(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		proven, err := composed.Prove(ctx, o)
		if err != nil {
			return err
		}
		return show.Proof(show.To(o), proven)
	})
}
