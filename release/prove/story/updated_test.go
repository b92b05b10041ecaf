package story

import (
	"context"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/release/prove/fleet"
	"github.com/flatcar/oem-sysext/release/prove/proof"
)

// Updated tells the middle of that story: the machine boots the new release.
func (t Teller) Updated(ctx context.Context, platform *platform.Platform, state fleet.State, wish fleet.Wish) ([]proof.Machine, error) {
	return t.onOneDisk(ctx, t.From, t.To, platform, func(s *story) []func() error {
		if err := s.become(ctx, state, wish); err != nil {
			return []func() error{func() error { return err }}
		}
		after := s.embedded(state, wish)
		return []func() error{
			func() error { return s.install(ctx, t.To) },
			func() error {
				return s.boots(ctx, start{step: state.Name + ", " + wish.Name + ": after the update", slot: "B", expect: &after})
			},
		}
	})
}
