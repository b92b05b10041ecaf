package story

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/release/prove/boot"
	"github.com/flatcar/oem-sysext/release/prove/fleet"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// Existing is a machine that exists: in one of its states, with what its user's configuration says, and with a network or without.
type Existing struct {
	State   fleet.State
	Wish    fleet.Wish
	Network bool
}

// named is a step of the machine's story.
func (e Existing) named(step string) string {
	network := "without a network"
	if e.Network {
		network = "with a network"
	}
	return fmt.Sprintf("%s, %s, %s: %s", e.State.Name, e.Wish.Name, network, step)
}

// GoesBack tells the story of a machine that exists: it runs a release that embeds nothing for its cloud, is updated, and a health check
// of the new release fails; so it goes back.
func (t Teller) GoesBack(ctx context.Context, platform *platform.Platform, e Existing) ([]proof.Machine, error) {
	return t.onOneDisk(ctx, t.From, t.To, platform, func(s *story) []func() error {
		if err := s.become(ctx, e); err != nil {
			return []func() error{func() error { return err }}
		}
		before, after, named := s.classic(e.State), s.embedded(e.State, e.Wish), e.named
		return []func() error{
			func() error { return s.install(ctx, t.To) },
			func() error {
				return s.boots(ctx, start{step: named("while the update is installed"), slot: "A", updates: true, expect: &before})
			},
			func() error {
				return s.boots(ctx, start{step: named("after the update, whose health check fails"), slot: "B", failing: healthCheck, expect: &after})
			},
			func() error { return s.boots(ctx, start{step: named("after going back"), slot: "A", expect: &before}) },
		}
	})
}

// become makes the story's machine one that exists.
func (s *story) become(ctx context.Context, e Existing) (err error) {
	if s.oem, s.root, err = s.filesOf(ctx, e.State.Files); err == nil {
		_, s.config, err = s.filesOf(ctx, e.Wish.Files)
	}
	s.arguments = append(vm.RootArguments(), e.State.Arguments...)
	if err != nil || !e.Network {
		return err
	}
	images := fleet.Files{}
	for _, r := range s.releases {
		version := r.Manifest.Base.VersionID
		images["/oem/oem-"+s.platform.ID.Value+"-"+version+".raw"] = fleet.File{Image: &fleet.Image{Version: version}}
	}
	s.server, _, err = s.filesOf(ctx, images)
	return err
}

// VersionsOf are the versions of an update's images. The earlier one is of no release.
func VersionsOf(from, to Installable) fleet.Versions {
	return fleet.Versions{Earlier: "1.0.0", Old: from.Manifest.Base.VersionID, New: to.Manifest.Base.VersionID}
}

// filesOf returns files of a machine's OEM partition and of its root partition.
func (s *story) filesOf(ctx context.Context, files fleet.Files) (oem, root map[string]string, err error) {
	oem, root = map[string]string{}, map[string]string{}
	for _, name := range files.Paths() {
		file := files[name]
		content := file.Text
		switch {
		case file.Target != "":
			content = "->" + file.Target
		case file.Image != nil:
			image, err := s.extension(ctx, filepath.Join(s.dir, "images", file.Image.Version), "oem-"+s.platform.ID.Value, file.Image.Version)
			if err != nil {
				return nil, nil, err
			}
			content = string(image)
		}
		if below, onOEM := strings.CutPrefix(name, "/oem/"); onOEM {
			oem[below] = content
		} else {
			root[strings.TrimPrefix(name, "/")] = content
		}
	}
	return oem, root, nil
}

// classic is what the old release shows: the image from the OEM partition, if the machine has the marker for that.
func (s *story) classic(state fleet.State) boot.Expectation {
	e := boot.ExpectNothing(s.releases["A"].Manifest, s.platform)
	e.Foreign = nil
	if state.Marked {
		name := "oem-" + s.platform.ID.Value
		e.Images = append(e.Images, name)
		// The kernel names it from the root of its file system, which is the OEM partition's.
		e.Lying[name] = path.Join("sysext", name+"-"+s.releases["A"].Manifest.Base.VersionID+".raw")
	}
	return e
}

// embedded is what the new release shows.
func (s *story) embedded(state fleet.State, wish fleet.Wish) boot.Expectation {
	e, err := boot.Expect(s.releases["B"].Manifest, s.platform)
	if err != nil {
		return boot.ExpectNothing(s.releases["B"].Manifest, s.platform)
	}
	if _, there := state.Files["/oem/oem-release"]; !there {
		e.Reason = state.Arguments[0] + " on the kernel command line"
	}
	name := "oem-" + s.platform.ID.Value
	const own = "/var/lib/extensions/"
	switch {
	case wish.Away:
		e = boot.ExpectNothing(s.releases["B"].Manifest, s.platform)
		e.Reason, e.Foreign = "is the user's choice", nil
		if wish.Files[own+name+".raw"].Image != nil {
			e.Images = append(e.Images, name)
			e.Lying[name] = strings.TrimPrefix(own, "/") + name + ".raw"
		}
	case wish.Files["/etc/extensions/"+name+".raw"].Target != "" && !state.Marked:
		e.Alias = map[string]string{name: name + "-embedded"}
	}
	return e
}

// classicOutcomes are what is asserted of Flatcar's own scripts, which ask nobody for what the release embeds.
func classicOutcomes(r vm.Report) []proof.Outcome {
	quiet := proof.Outcome{Assertion: "nothing is downloaded"}
	said := []string{r.Classic}
	if r.Update != nil {
		said = append(said, r.Update.Said)
	}
	if r.Classic == "" {
		quiet.Error = "the after-ignition step has not run"
	}
	if slices.ContainsFunc(said, func(text string) bool { return strings.Contains(text, "ownload") }) {
		quiet.Error = fmt.Sprintf("they say %q", said)
	}
	outcomes := []proof.Outcome{quiet}
	if r.Update != nil {
		o := proof.Outcome{Assertion: "the update is prepared"}
		if r.Update.Status != 0 {
			o.Error = fmt.Sprintf("postinst ends with status %d: %s", r.Update.Status, r.Update.Said)
		}
		outcomes = append(outcomes, o)
	}
	return outcomes
}
