package build

import (
	"path"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// never is pruned from every image: documentation, translations, files for compilers, debuggers and packaging, caches, shell completions.
var never = []recipe.Glob{
	"/usr/share/{doc,doc-base,man,info,help,gtk-doc,locale,i18n}",
	"/usr/share/{lintian,bug,menu,applications,pixmaps,icons,metainfo,apport,reportbug,debconf,debhelper,initramfs-tools}",
	"/usr/share/{bash-completion,zsh,fish}",
	"/usr/include",
	"/usr/{lib,share}/{pkgconfig,cmake,aclocal}",
	"/usr/lib/*/{pkgconfig,cmake}",
	"/usr/lib/**/*.{a,la,h}",
	"/usr/{lib,share}/**/{__pycache__,.pytest_cache}",
	"/usr/share/{gdb,gir-1.0}",
	"/usr/lib/*/engines-*", // of OpenSSL, for hardware
	"/usr/src",
}

// prune leaves out matching paths, directories with everything below them.
func prune(t tree.Tree, patterns []recipe.Glob) tree.Tree {
	out := pruned(t, patterns)
	return t.Filter(func(e tree.Entry) bool { return out[e.Path] == "" })
}

// pruned maps every path that is left out to the pattern responsible: its parent's, else the first that matches.
func pruned(t tree.Tree, patterns []recipe.Glob) map[string]recipe.Glob {
	by := map[string]recipe.Glob{}
	for _, e := range t { // parents come first
		if pattern := by[path.Dir(e.Path)]; pattern != "" {
			by[e.Path] = pattern
		} else if at := slices.IndexFunc(patterns, func(g recipe.Glob) bool { return g.Match(e.Path) }); at >= 0 {
			by[e.Path] = patterns[at]
		}
	}
	return by
}

// prunes tells whether a recipe leaves out a path.
func prunes(r *recipe.Recipe, name string) bool {
	for ; name != "/"; name = path.Dir(name) {
		if slices.ContainsFunc(slices.Concat(never, r.Prune), func(g recipe.Glob) bool { return g.Match(name) }) {
			return true
		}
	}
	return false
}
