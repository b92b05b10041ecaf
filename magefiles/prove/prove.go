// Package prove holds the targets in the namespace prove.
package prove

import (
	"context"
	"os"

	"github.com/flatcar/oem-sysext/release"
)

// Platform boots the release in a virtual machine of one cloud and asserts what it promises.
//
// The argument is the platform's id, such as azure. VERSION, ARCH and OUTPUT choose the release, _output/VERSION/ARCH.
func Platform(ctx context.Context, id string) error {
	o, err := release.FromEnvironment(".")
	if err != nil {
		return err
	}
	o.Platforms = []string{id}
	proof, err := release.Prove(ctx, o)
	if err != nil {
		return err
	}
	return release.PrintProof(os.Stdout, proof)
}
