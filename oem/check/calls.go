package check

import (
	"maps"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/flatcar/oem-sysext/oem/tree"
)

// essential are commands that every Debian system has (Debian policy 3.8) and a base may lack, each with its package. No package says that it
// depends on one of these.
var essential = map[string]string{
	"deb-systemd-helper": "init-system-helpers", "deb-systemd-invoke": "init-system-helpers", "invoke-rc.d": "init-system-helpers",
	"service": "init-system-helpers", "update-rc.d": "init-system-helpers",
	"dpkg": "dpkg", "dpkg-deb": "dpkg", "dpkg-divert": "dpkg", "dpkg-query": "dpkg", "dpkg-trigger": "dpkg", "start-stop-daemon": "dpkg",
	"update-alternatives": "dpkg",
	"getconf":             "libc-bin", "iconv": "libc-bin", "locale": "libc-bin",
	"perl":     "perl-base",
	"ischroot": "debianutils", "run-parts": "debianutils", "savelog": "debianutils",
	"killall5": "sysvinit-utils", "pidof": "sysvinit-utils",
}

// calls reports essential commands that a script for the shell calls and that are not there. A script that asks whether there is one,
// by any command that has its name as an argument, can do without.
func (c *check) calls(e tree.Entry, interpreter []string) error {
	if len(interpreter) == 0 || !slices.Contains([]string{"sh", "bash", "dash"}, path.Base(interpreter[len(interpreter)-1])) || !slices.Contains(programDirs, path.Dir(e.Path)) || e.Size > maxText {
		return nil
	}
	content, err := c.view.read(e)
	if err != nil {
		return err
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(content), "")
	if err != nil {
		return nil //nolint:nilerr // other shells have other words, and who runs it will see
	}
	called, named := map[string]bool{}, map[string]bool{}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.FuncDecl:
			if n.Name != nil {
				named[n.Name.Value] = true
			}
		case *syntax.CallExpr:
			for i, w := range n.Args {
				name := path.Base(literal(w))
				called[name] = called[name] || i == 0
				named[name] = named[name] || i > 0
			}
		}
		return true
	})
	for _, name := range slices.Sorted(maps.Keys(called)) {
		if essential[name] != "" && !named[name] && !c.view.find(name) {
			c.addRuntime(e.Path, "calls %s, which every Debian system has in its package %s and the base has not; add the package, or prune the script", name, essential[name])
		}
	}
	return nil
}

// literal returns a word that has no variables, without its quotes.
func literal(w *syntax.Word) string {
	if len(w.Parts) == 1 {
		switch p := w.Parts[0].(type) {
		case *syntax.SglQuoted:
			return p.Value
		case *syntax.DblQuoted:
			return (&syntax.Word{Parts: p.Parts}).Lit()
		}
	}
	return w.Lit()
}
