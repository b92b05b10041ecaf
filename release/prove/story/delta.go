package story

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/sparse"
	"github.com/flatcar/oem-sysext/release/bases/slot"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/payload"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/prove/proof"
)

// installDelta installs what a payload with only what is new makes of the release in slot A.
func (s *story) installDelta(ctx context.Context, to Installable, delta string) error {
	dir := filepath.Join(s.dir, "applied")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	made, err := s.apply(ctx, to, delta, dir)
	if err != nil {
		return err
	}
	to.Slot.Usr.Path, to.Slot.Kernel.Path = made.Image, made.Kernel
	return s.install(ctx, to)
}

// refusesDelta asserts that nothing is made of a slot A whose first bit is another one: it belongs to no file system, and the payload
// leaves it alone. That the payload is good otherwise is for installDelta to say.
func (s *story) refusesDelta(ctx context.Context, to Installable, delta string) error {
	running, err := s.find("A")
	if err != nil {
		return err
	}
	if err := flipBit(s.disk(), running.Partition.Offset()); err != nil {
		return err
	}
	refused := proof.Outcome{Assertion: "an update with only what is new is refused where something is not as in the old release"}
	if err := s.installDelta(ctx, to, delta); err == nil {
		refused.Error = "it is installed"
	}
	if err := errors.Join(ctx.Err(), flipBit(s.disk(), running.Partition.Offset())); err != nil {
		return err
	}
	chosen, err := s.choose()
	if err != nil {
		return err
	}
	return s.shown(proof.Machine{
		Platform: s.platform.ID.Value, Step: "after an update that is not for what runs", Outcomes: []proof.Outcome{refused, chosenSlot(chosen, "A")},
	})
}

// apply does what the updater does: it makes a partition and a kernel, in a directory, of those that slot A has.
func (s *story) apply(ctx context.Context, to Installable, delta, dir string) (payload.Files, error) {
	made := payload.Files{Image: filepath.Join(dir, manifest.PartitionFile), Kernel: filepath.Join(dir, manifest.KernelFile)}
	running, err := s.find("A")
	if err != nil {
		return made, err
	}
	old := payload.Files{Image: filepath.Join(dir, "running")}
	if err := s.copyPartition(old.Image, running); err != nil {
		return made, err
	}
	if old.Kernel, err = s.kernel(ctx, running); err != nil {
		return made, err
	}
	key, err := sign.ReadPublic(to.Path(manifest.UpdateKeyFile))
	if err != nil {
		return made, err
	}
	return made, payload.ApplyFile(ctx, delta, key, old, made, io.Discard)
}

// copyPartition copies what is in a slot to a new file.
func (s *story) copyPartition(path string, from slot.Slot) error {
	disk, err := os.Open(s.disk())
	if err != nil {
		return err
	}
	defer disk.Close()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(sparse.CopyPart(f, disk, from.Partition.Offset(), from.Partition.Size()), f.Close())
}
