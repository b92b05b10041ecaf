// Package fit holds the targets in the namespace fit.
package fit

import (
	"context"
	"fmt"

	"github.com/flatcar/oem-sysext/magefiles/show"
	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/oem/image/fit"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Explain says why the plan packs one image as it does and what the alternatives would cost.
//
// The argument is the image's name, such as oem-azure. PROFILE and BASE determine the budgets.
func Explain(ctx context.Context, image string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		explained, err := release.Explain(ctx, o, image)
		if err != nil {
			return err
		}
		return show.Explanation(show.To(o), explained)
	})
}

// Calibrate measures how fast this machine reads images of each rung.
//
// It packs every layer at every rung, which takes minutes; a quiet machine gives better figures.
// The result replaces oem/image/fit/calibration.json.
func Calibrate(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		c, err := release.Calibrate(ctx, o)
		if err == nil {
			fmt.Printf("measured %d rungs on %s; wrote %s\n", len(c.Rungs), c.Machine, fit.CalibrationFile)
		}
		return err
	})
}
