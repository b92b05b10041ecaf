package story

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/bases/slot"
	"github.com/flatcar/oem-sysext/release/format/verity"
	"github.com/flatcar/oem-sysext/release/prove/boot"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// Tamper tells one story on one disk: a release is installed and then one bit of it is flipped, in an image that it embeds,
// in the hash tree, or in the root hash that it is booted with. dm-verity ends each such boot, the boot loader goes back to the
// old release, and in the end that one comes up with its tools, and refuses images that are not for it.
func (t Teller) Tamper(ctx context.Context, platform *platform.Platform) ([]proof.Machine, error) {
	return t.onOneDisk(ctx, t.From, t.To, platform, func(s *story) []func() error {
		damaged := func(step string, hit func(slot.Slot, *vm.Machine) error) func() error {
			return func() error {
				if err := s.install(ctx, t.To); err != nil {
					return err
				}
				return s.stops(ctx, step, hit)
			}
		}
		return []func() error{
			damaged("with a flipped bit in an image", func(b slot.Slot, _ *vm.Machine) error { return s.hitImage(b) }),
			damaged("with a flipped bit in the hash tree", func(b slot.Slot, _ *vm.Machine) error {
				top := int64(t.To.Manifest.Partition.Filesystem) + verity.BlockSize // behind the superblock
				return flipBit(s.disk(), b.Partition.Offset()+top)
			}),
			damaged("with another root hash", func(_ slot.Slot, m *vm.Machine) error {
				root := t.To.Manifest.Partition.RootHash
				other := root
				other[0] ^= 1
				for i, argument := range m.Arguments {
					m.Arguments[i] = strings.ReplaceAll(argument, root.String(), other.String())
				}
				return nil
			}),
			func() error {
				foreign, err := s.foreignImages(ctx, s.dir, t.From.Manifest.Base.VersionID)
				if err != nil {
					return err
				}
				return s.boots(ctx, start{step: "after that, with images that are not for it", slot: "A", foreign: foreign})
			},
		}
	})
}

// stops damages what the boot loader chooses, boots it, and asserts that dm-verity ends that, and that the other slot is next.
func (s *story) stops(ctx context.Context, step string, hit func(slot.Slot, *vm.Machine) error) error {
	chosen, err := s.choose()
	if err != nil {
		return err
	}
	r := s.releases[chosen.Name]
	e, err := boot.Expect(r.Manifest, s.platform)
	if err != nil {
		return err
	}
	m := s.Machine(r.Release, s.platform, s.dir, chosen.Partition.ID.String())
	if m.Kernel, err = s.kernel(ctx, chosen); err != nil {
		return err
	}
	if err := hit(chosen, &m); err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	stopped := proof.Outcome{Assertion: "dm-verity does not let it come up"}
	report, err := vm.Boot(ctx, m, e.Question())
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		stopped.Error = fmt.Sprintf("it came up, and dm-verity is %s", report.Verity)
	case !strings.Contains(err.Error(), "dm-verity"):
		stopped.Error = err.Error()
	}
	next, err := s.choose()
	if err != nil {
		return err
	}
	return s.shown(proof.Machine{
		Platform: s.platform.ID.Value, Step: step, Outcomes: []proof.Outcome{chosenSlot(chosen, "B"), stopped, chosenSlot(next, "A")},
	})
}

// edge is how much at each end of an image is damaged: there are the tables that a mount reads.
const edge = 256 << 10

// hitImage flips a bit in each block of the platform's own image, near its ends, that lies in the partition as it is in the file.
func (s *story) hitImage(b slot.Slot) error {
	to := s.releases[b.Name]
	image, err := os.ReadFile(filepath.Join(to.Dir, s.platform.Image()+".raw"))
	if err != nil {
		return err
	}
	wanted := map[digest.SHA256]bool{}
	for at := 0; at+verity.BlockSize <= len(image); at += verity.BlockSize {
		block := image[at : at+verity.BlockSize]
		if (at < edge || at >= len(image)-edge) && bytes.ContainsFunc(block, func(r rune) bool { return r != 0 }) {
			wanted[digest.Of(block)] = true
		}
	}
	disk, err := os.Open(s.disk())
	if err != nil {
		return err
	}
	defer disk.Close()
	content := io.NewSectionReader(disk, b.Partition.Offset(), int64(to.Manifest.Partition.Filesystem))
	hits, block := 0, make([]byte, verity.BlockSize)
	for at := int64(0); at < content.Size(); at += verity.BlockSize {
		if _, err := content.ReadAt(block, at); err != nil {
			return err
		}
		if !wanted[digest.Of(block)] {
			continue
		}
		if err := flipBit(s.disk(), b.Partition.Offset()+at); err != nil {
			return err
		}
		hits++
	}
	if hits == 0 {
		return fmt.Errorf("no block of %s.raw lies in the partition as it is", s.platform.Image())
	}
	return nil
}

func flipBit(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	var one [1]byte
	if _, err = f.ReadAt(one[:], at); err == nil {
		one[0] ^= 1
		_, err = f.WriteAt(one[:], at)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
