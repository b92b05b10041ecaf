package build

import (
	"path"

	"github.com/flatcar/oem-sysext/oem/recipe"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// never is what no image needs: documentation, translations, what compilers and packagers use, caches and shell completions.
var never = []recipe.Glob{
	"/usr/share/{doc,doc-base,man,info,help,gtk-doc,locale,i18n}",
	"/usr/share/{lintian,bug,menu,applications,pixmaps,icons,metainfo,apport,reportbug,debconf,debhelper,initramfs-tools,perl5}",
	"/usr/share/{bash-completion,zsh,fish}",
	"/usr/include",
	"/usr/{lib,share}/{pkgconfig,cmake,aclocal}",
	"/usr/lib/*/{pkgconfig,cmake}",
	"/usr/lib/**/*.{a,la,h}",
	"/usr/{lib,share}/**/{__pycache__,.pytest_cache}",
	"/usr/share/gir-1.0",
	"/usr/src",
}

// prune leaves out what the patterns match, directories with all that is below them.
func prune(t tree.Tree, patterns []recipe.Glob) tree.Tree {
	out := map[string]bool{}
	for _, e := range t { // parents come first
		out[e.Path] = out[path.Dir(e.Path)] || matchesAny(patterns, e.Path)
	}
	return t.Filter(func(e tree.Entry) bool { return !out[e.Path] })
}

func matchesAny(patterns []recipe.Glob, path string) bool {
	for _, pattern := range patterns {
		if pattern.Match(path) {
			return true
		}
	}
	return false
}
