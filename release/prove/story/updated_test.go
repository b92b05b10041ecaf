package story

import (
	"context"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/release/prove/proof"
)

// Updated tells the middle of that story: the machine boots the new release.
func (t Teller) Updated(ctx context.Context, platform *platform.Platform, e Existing) ([]proof.Machine, error) {
	return t.onOneDisk(ctx, t.From, t.To, platform, func(s *story) []func() error {
		if err := s.become(ctx, e); err != nil {
			return []func() error{func() error { return err }}
		}
		after := s.embedded(e.State, e.Wish)
		return []func() error{
			func() error { return s.install(ctx, t.To) },
			func() error {
				return s.boots(ctx, start{step: e.named("after the update"), slot: "B", expect: &after})
			},
		}
	})
}
