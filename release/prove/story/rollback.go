package story

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/bases/slot"
	"github.com/flatcar/oem-sysext/release/prove/proof"
)

// Rollback tells one story on one disk: a machine runs the old release with its tools; an installation of the new one is
// cut off, and the old one still boots; it is installed in whole and boots, with its own tools, but a health check fails;
// so the next boot is the old release's, with the old tools, and without a network. If there is a delta, that is what is installed,
// once it was refused by a machine on which something is not as in the old release.
func (t Teller) Rollback(ctx context.Context, platform *platform.Platform) ([]proof.Machine, error) {
	return t.onOneDisk(ctx, t.From, t.To, platform, func(s *story) []func() error {
		update := func() error { return s.install(ctx, t.To) }
		if t.Delta != "" {
			update = func() error {
				if err := s.refusesDelta(ctx, t.To, t.Delta); err != nil {
					return err
				}
				return s.installDelta(ctx, t.To, t.Delta)
			}
		}
		return []func() error{
			func() error {
				s.say("1. A machine starts %s from slot A. Its tools are images in that slot's /usr.", t.From.Manifest.Version)
				return s.boots(ctx, start{step: "before the update", slot: "A"})
			},
			func() error {
				s.say("2. An update to %s is written to slot B, and is cut off half way.", t.To.Manifest.Version)
				return s.cutOff(ctx, t.To)
			},
			func() error {
				s.say("3. The update is written again, to its end. The boot loader is to try slot B once.")
				return update()
			},
			func() error {
				s.say("4. The machine starts the update, which brings its own tools. A health check fails, as this story wants it.")
				return s.boots(ctx, start{step: "after the update, whose health check fails", slot: "B", failing: healthCheck})
			},
			func() error {
				s.say("5. The machine starts again. Slot B was not marked as good, so it is the old release, with the old tools.")
				return s.boots(ctx, start{step: "after the rollback", slot: "A"})
			},
		}
	})
}

// Downgrade tells one story on one disk: a machine runs the new release, the old one is installed, and it boots, with its own
// tools, and stays.
func (t Teller) Downgrade(ctx context.Context, platform *platform.Platform) ([]proof.Machine, error) {
	return t.onOneDisk(ctx, t.To, t.From, platform, func(s *story) []func() error {
		return []func() error{
			func() error { return s.boots(ctx, start{step: "before the downgrade", slot: "A"}) },
			func() error { return s.install(ctx, t.From) },
			func() error { return s.boots(ctx, start{step: "after the downgrade", slot: "B"}) },
			func() error { return s.boots(ctx, start{step: "started once more", slot: "B"}) },
		}
	})
}

// cutAfter ends a context when it has been asked as often whether it has ended. The installer asks before each part that it
// writes, so this cuts it off in the middle of the partition.
type cutAfter struct {
	context.Context
	left *atomic.Int64
}

func (c cutAfter) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return c.Context.Err()
}

// cutOff begins an installation and ends it while the partition is written.
func (s *story) cutOff(ctx context.Context, r Installable) error {
	left := &atomic.Int64{}
	left.Store(int64((disks.ESPSize + r.Slot.Usr.Size/2) / slot.Chunk))
	err := s.install(cutAfter{ctx, left}, r)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	m := proof.Machine{Platform: s.platform.ID.Value, Step: "after an installation that was cut off"}
	half := proof.Outcome{Assertion: "a slot that is written in part does not boot"}
	slots, _, readErr := slot.Read(s.disk())
	if readErr != nil {
		return readErr
	}
	if !errors.Is(err, context.Canceled) || slots[1].Boots() {
		half.Error = fmt.Sprintf("installing it says %v; it boots: %v", err, slots[1].Boots())
	}
	chosen, err := s.choose()
	if err != nil {
		return err
	}
	m.Outcomes = []proof.Outcome{half, chosenSlot(chosen, "A")}
	s.say("   The boot loader would choose slot %s.", chosen.Name)
	return s.shown(m)
}
