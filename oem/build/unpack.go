package build

import (
	"context"
	"os"
	"path"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/source/kind"
)

// unpack unpacks the sources' files: those below /usr, those that the recipe moves there, and those in /etc.
// It returns the names of all files that are not from mere dependencies.
func (b *Builder) unpack(ctx context.Context, r *Resolved, root *os.Root) (own map[string]bool, err error) {
	own = map[string]bool{}
	to := kind.Place{
		Root: root, Arch: r.Arch,
		KeepNeeded: func(name string) bool { return keeps(r.Recipe, name) },
		Prunes:     func(name string) bool { return prunes(r.Recipe, "/"+name) },
	}
	to.Keep = func(name string) bool {
		own[path.Base(name)] = true
		return to.KeepNeeded(name)
	}
	for i, pins := range r.Pins {
		if len(pins) == 0 {
			continue
		}
		if err := b.kinds().Of(r.Recipe, r.Recipe.Sources[i]).Unpack(ctx, b.Env(), pins, to); err != nil {
			return nil, err
		}
	}
	return own, ctx.Err()
}

// keeps tells whether a path of a source is unpacked. What is in /etc is only looked at.
func keeps(r *recipe.Recipe, name string) bool {
	if strings.HasPrefix(name, "usr/") || strings.HasPrefix(name, "etc/") {
		return true
	}
	for from := range r.Move {
		if name == rel(from) || strings.HasPrefix(name, rel(from)+"/") {
			return true
		}
	}
	return false
}
