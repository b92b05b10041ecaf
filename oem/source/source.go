// Package source lists all kinds of sources.
package source

import (
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/source/binpkg"
	"github.com/flatcar/oem-sysext/oem/source/deb"
	"github.com/flatcar/oem-sysext/oem/source/dir"
	"github.com/flatcar/oem-sysext/oem/source/githubasset"
	"github.com/flatcar/oem-sysext/oem/source/gomodule"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/source/url"
)

// Kinds are functions that return a recipe's source if it is of their kind, else nil.
type Kinds []func(*recipe.Recipe, recipe.Source) kind.Source

// All are all kinds.
var All = Kinds{deb.Of, gomodule.Of, url.Of, githubasset.Of, binpkg.Of, dir.Of}

// Of returns a recipe's source as the source of its kind. A recipe without mistakes has no source of unknown kind.
func (k Kinds) Of(r *recipe.Recipe, s recipe.Source) kind.Source {
	for _, of := range k {
		if found := of(r, s); found != nil {
			return found
		}
	}
	return nil
}
