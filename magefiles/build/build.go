// Package build holds the targets in the namespace build.
package build

import "context"

// Platform builds the image of one platform
func Platform(ctx context.Context, id string) error { return nil }
