package story

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/prove/boot"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// signedOnly is a policy that wants every image to be signed. One that allows verity, too, takes those without a signature.
const signedOnly = "root=signed+absent:usr=signed+absent"

// foreign are images that no machine of this version may merge, by name.
const (
	garbage      = "garbage"
	otherVersion = "other-version"
	unsigned     = "unsigned"
)

// What the command oem-sysext says of an image that is not merged, and what follows where systemd-sysext does not say why.
const (
	notMerged   = "linked, but not merged: "
	unexplained = "systemd-sysext does not say why"
)

// foreignImages makes the images that a machine of a version is to refuse: bytes that are no image, an extension for
// another version, and one without a signature where the policy wants one.
func (s *story) foreignImages(ctx context.Context, dir, versionID string) ([]vm.Foreign, error) {
	other, err := s.extension(ctx, dir, otherVersion, versionID+".1")
	if err != nil {
		return nil, err
	}
	bare, err := s.extension(ctx, dir, unsigned, versionID)
	if err != nil {
		return nil, err
	}
	return []vm.Foreign{
		{Name: garbage, Content: bytes.Repeat([]byte("no image\n"), 1000)},
		{Name: otherVersion, Content: other},
		{Name: unsigned, Content: bare, Policy: signedOnly},
	}, nil
}

// extension returns a squashfs image with nothing but what makes it an extension for a version.
func (s *story) extension(ctx context.Context, dir, name, versionID string) ([]byte, error) {
	tree := filepath.Join(dir, name)
	release := filepath.Join(tree, "usr/lib/extension-release.d/extension-release."+name)
	image := filepath.Join(dir, name+".raw")
	if err := os.MkdirAll(filepath.Dir(release), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(release, []byte("ID=flatcar\nVERSION_ID="+versionID+"\n"), 0o644); err != nil {
		return nil, err
	}
	err := s.Tools.Run(ctx, toolroot.Cmd{
		Program: "mksquashfs", Args: []string{tree, image, "-all-root", "-quiet", "-no-progress", "-noappend"}, Read: []string{tree}, Write: []string{dir},
	})
	if err != nil {
		return nil, err
	}
	return os.ReadFile(image)
}

// refused are what is asserted of a machine that has been given the foreign images. Success of systemd-sysext says nothing: it
// skips an image for another version and ends well.
func refused(e boot.Expectation, attempts []vm.Attempt) []proof.Outcome {
	find := func(name string) vm.Attempt {
		at := slices.IndexFunc(attempts, func(a vm.Attempt) bool { return a.Name == name })
		if at < 0 {
			return vm.Attempt{Name: name, Merged: []string{"nobody tried"}}
		}
		return attempts[at]
	}
	fails := func(what, name string) proof.Outcome {
		o := proof.Outcome{Assertion: what}
		switch a := find(name); {
		case a.Status == 0:
			o.Error = fmt.Sprintf("the refresh ended well, with %v merged", a.Merged)
		case slices.Contains(a.Merged, name):
			o.Error = fmt.Sprintf("merged are %v", a.Merged)
		}
		return o
	}
	skipped := proof.Outcome{Assertion: "an extension for another version is skipped, and all others are merged"}
	a := find(otherVersion)
	if err := boot.Joined(boot.Differ("the status", fmt.Sprint(a.Status), "0"), boot.SameSet("merged images", a.Merged, e.Images)); err != nil {
		skipped.Error = err.Error()
	}
	told := proof.Outcome{Assertion: "oem-sysext says why an image is not merged"}
	var errs []error
	for _, name := range []string{garbage, otherVersion} {
		_, why, said := strings.Cut(find(name).Why, notMerged)
		if !said || strings.HasPrefix(why, unexplained) {
			errs = append(errs, fmt.Errorf("of %s it says %q", name, find(name).Why))
		}
	}
	if err := boot.Joined(errs...); err != nil {
		told.Error = err.Error()
	}
	return []proof.Outcome{
		fails("a file that is no image is told", garbage),
		skipped,
		fails("an image without a signature is told where the policy wants one", unsigned),
		told,
	}
}
