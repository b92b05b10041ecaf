package btrfs

import (
	"context"
	"os"
)

// Extract copies everything in an image's file system, and the metadata of its top directory, into a new directory:
// types, content, owners, modes, hard links, modification times and attributes. Devices, sockets and pipes are refused.
func Extract(ctx context.Context, image, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return View(ctx, image, func(root string) error { return copyTree(ctx, root, dir) })
}
