// Package maintainer tells what the script of a Debian package does to /usr when the package is installed (deb-postinst(5)).
//
// In goes the script; out come the alternatives that it registers, the privileges that it gives to files, and every other command that may
// change /usr. The script is read and never run. What only concerns /etc and /var, accounts, services, caches and questions to
// administrators is left out: an extension image has its own ways for these, or has them not at all.
package maintainer

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Effects are what a script does to /usr.
type Effects struct {
	Alternatives []Alternative
	Privileges   []Privilege
	Diversions   []Diversion
	Others       []string // commands that may change /usr in another way
}

// Alternative is a name for one of several files (update-alternatives(1)).
type Alternative struct {
	Link, Path string // below /usr, without a leading slash
	Priority   int
}

// Privilege is what a file gets beside its content.
type Privilege struct {
	Path string // below /usr, without a leading slash
	How  string // the command
}

// Diversion is a file of other packages that makes room for the package's own (dpkg-divert(1)).
type Diversion struct{ From, To string } // below /usr, without a leading slash

// Read reads a script that runs before a package is unpacked, or when it is configured.
func Read(script []byte) (Effects, error) {
	if line, _, _ := bytes.Cut(script, []byte("\n")); !shell(string(line)) {
		return Effects{Others: []string{fmt.Sprintf("a script that is not for the shell: %.80q", line)}}, nil
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(bytes.NewReader(script), "")
	if err != nil {
		return Effects{}, fmt.Errorf("postinst: %w", err)
	}
	r := &reader{values: map[string][]string{"DPKG_ROOT": {""}}, functions: map[string][][]string{}}
	syntax.Walk(file, func(n syntax.Node) bool {
		if f, is := n.(*syntax.FuncDecl); is && f.Name != nil {
			r.functions[f.Name.Value] = nil
		}
		return true
	})
	syntax.Walk(file, r.visitCall)
	syntax.Walk(file, r.visit)
	return r.found, nil
}

// visitCall collects what a function of the script is called with.
func (r *reader) visitCall(n syntax.Node) bool {
	c, is := n.(*syntax.CallExpr)
	if !is || len(c.Args) == 0 {
		return true
	}
	name := c.Args[0].Lit()
	given, is := r.functions[name]
	if !is {
		return true
	}
	for i, w := range c.Args[1:] {
		if i == len(given) {
			given = append(given, nil)
		}
		given[i] = append(given[i], r.expand(w)...)
	}
	r.functions[name] = given
	return true
}

// visitFunction reads a function with the values of all its calls.
func (r *reader) visitFunction(f *syntax.FuncDecl) {
	given := r.functions[f.Name.Value]
	for i, values := range given {
		r.set(strconv.Itoa(i+1), nil, values)
	}
	syntax.Walk(f.Body, r.visit)
	for i := range given {
		delete(r.values, strconv.Itoa(i+1))
	}
}

// shell tells whether the first line of a script names a shell.
func shell(line string) bool {
	words := strings.Fields(strings.TrimPrefix(line, "#!"))
	return strings.HasPrefix(line, "#!") && len(words) > 0 && slices.Contains([]string{"sh", "bash", "dash"}, path.Base(words[0]))
}

// reader walks a script.
type reader struct {
	values    map[string][]string   // that variables may have, as far as these are known
	functions map[string][][]string // of the script: the values of each parameter
	found     Effects
}

func (r *reader) visit(n syntax.Node) bool {
	switch n := n.(type) {
	case *syntax.CaseClause:
		return r.visitCase(n)
	case *syntax.FuncDecl:
		if n.Name != nil {
			r.visitFunction(n)
			return false
		}
	case *syntax.ForClause:
		if items, is := n.Loop.(*syntax.WordIter); is && items.Name != nil {
			r.set(items.Name.Value, nil, r.all(items.Items))
		}
	case *syntax.CallExpr:
		for _, a := range n.Assigns {
			if a.Name != nil && a.Value != nil {
				r.set(a.Name.Value, r.values[a.Name.Value], r.expand(a.Value))
			}
		}
		r.command(n)
	case *syntax.Redirect:
		writes := n.Op == syntax.RdrOut || n.Op == syntax.AppOut || n.Op == syntax.RdrClob
		if writes && slices.ContainsFunc(r.expand(n.Word), inUsr) {
			r.add("writes to " + printed(n.Word))
		}
	}
	return true
}

// set adds to the values that a variable may have.
func (r *reader) set(name string, had, more []string) {
	values := slices.Concat(had, more)
	if len(values) > most {
		values = append(values[:most-1:most-1], unknown)
	}
	r.values[name] = values
}

// visitCase leaves out the stages that are not the configuration of a package, where the script asks for its stage.
func (r *reader) visitCase(n *syntax.CaseClause) bool {
	if text := printed(n.Word); text != `"$1"` && text != "$1" && text != `"${1}"` {
		return true
	}
	for _, item := range n.Items {
		if slices.ContainsFunc(item.Patterns, func(w *syntax.Word) bool { return slices.Contains([]string{"configure", "install", "*"}, w.Lit()) }) {
			for _, stmt := range item.Stmts {
				syntax.Walk(stmt, r.visit)
			}
		}
	}
	return false
}

func (r *reader) all(words []*syntax.Word) (values []string) {
	for _, w := range words {
		values = append(values, r.expand(w)...)
	}
	return values
}

// unknown stands for what only a run could tell.
const unknown = "\x00"

// expand returns what a word may be.
func (r *reader) expand(w *syntax.Word) []string { return r.parts(w.Parts) }

// How many values of one word are looked at, and how long they may be.
const (
	most      = 16
	maxLength = 512
)

func (r *reader) parts(parts []syntax.WordPart) []string {
	values := []string{""}
	for _, p := range parts {
		var next []string
		for _, suffix := range r.part(p) {
			for _, value := range values {
				if len(next) < most && len(value)+len(suffix) <= maxLength {
					next = append(next, value+suffix)
				}
			}
		}
		if values = next; values == nil {
			return []string{unknown}
		}
	}
	return values
}

func (r *reader) part(p syntax.WordPart) []string {
	switch p := p.(type) {
	case *syntax.Lit:
		return []string{p.Value}
	case *syntax.SglQuoted:
		return []string{p.Value}
	case *syntax.DblQuoted:
		return r.parts(p.Parts)
	case *syntax.CmdSubst:
		return r.asked(p)
	case *syntax.ParamExp:
		if p.Param == nil {
			return []string{unknown}
		}
		if values := r.values[p.Param.Value]; len(values) > 0 && !p.Excl && !p.Length && p.Index == nil && p.Slice == nil && p.Repl == nil && p.Exp == nil {
			return values
		}
	}
	return []string{unknown}
}

// asked returns what some programs that only look print, which scripts use in place of their arguments.
func (r *reader) asked(p *syntax.CmdSubst) []string {
	if len(p.Stmts) == 1 {
		c, is := p.Stmts[0].Cmd.(*syntax.CallExpr)
		switch {
		case is && len(c.Args) == 3 && c.Args[0].Lit() == "dpkg-divert" && c.Args[1].Lit() == "--truename":
			return r.expand(c.Args[2])
		case is && len(c.Args) == 2 && c.Args[0].Lit() == "dirname":
			var dirs []string
			for _, name := range r.expand(c.Args[1]) {
				dirs = append(dirs, path.Dir(name))
			}
			return dirs
		}
	}
	return []string{unknown}
}

// inUsr tells whether a word may name a file of the system in /usr. Administrators have /usr/local.
func inUsr(word string) bool {
	name := path.Clean(word)
	if strings.HasPrefix(name, "/usr/local/") || name == "/usr/local" {
		return false
	}
	for _, dir := range []string{"/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", unknown} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}

// below returns a path as an image has it: without a leading slash, and in /usr.
func below(name string) string {
	name = strings.TrimPrefix(path.Clean(name), "/")
	if !strings.HasPrefix(name, "usr/") {
		name = "usr/" + name
	}
	return name
}

func printed(n syntax.Node) string {
	var b bytes.Buffer
	if err := syntax.NewPrinter(syntax.SingleLine(true)).Print(&b, n); err != nil {
		return err.Error()
	}
	return b.String()
}

func (r *reader) other(c *syntax.CallExpr) { r.add(printed(c)) }

func (r *reader) add(text string) {
	if text = fmt.Sprintf("%.120s", strings.Join(strings.Fields(text), " ")); !slices.Contains(r.found.Others, text) {
		r.found.Others = append(r.found.Others, text)
	}
}

// command finds out what a command does.
func (r *reader) command(c *syntax.CallExpr) {
	if len(c.Args) == 0 {
		return
	}
	var args []string // of each word the first value; paths are looked at with all
	for _, w := range c.Args[1:] {
		args = append(args, r.expand(w)[0])
	}
	name := path.Base(r.expand(c.Args[0])[0])
	touched := r.all(c.Args[1:])
	if copies[name] && len(c.Args) > 1 {
		touched = r.expand(c.Args[len(c.Args)-1])
	}
	touches := slices.ContainsFunc(touched, inUsr)
	_, isFunction := r.functions[name]
	switch {
	case isFunction || harmless[name] || name == "install" && slices.Contains(args, "-d") || slices.ContainsFunc(append(args, name), compiles) || removes(name, args):
	case name == "update-alternatives":
		r.alternatives(c, args)
	case name == "dpkg-divert":
		r.diversion(args)
	case name == "setcap" || name == "chmod" && slices.ContainsFunc(touched, privileged) || name == "dpkg-statoverride" && slices.Contains(args, "--add"),
		name == "chown" && !slices.ContainsFunc(touched, byRoot):
		if touches {
			r.privileges(c)
		}
	case name == "chown" && !slices.Contains(touched, unknown) && !strings.Contains(strings.Join(touched, ""), unknown):
	case onFiles[name]:
		if touches {
			r.other(c)
		}
	default:
		r.other(c)
	}
}

// privileged tells whether a word is a mode of chmod that sets a bit for the owner's or group's identity.
func privileged(word string) bool {
	if mode, err := strconv.ParseUint(word, 8, 16); err == nil {
		return mode&0o6000 != 0
	}
	return !strings.ContainsAny(word, "/-"+unknown) && setsBit.MatchString(word)
}

// byRoot tells whether a word is the owner that all files of an image have, or may be it.
func byRoot(word string) bool {
	return strings.Contains(word, unknown) || slices.Contains([]string{"root", "root:", "root:root", "root.root", "0:0", "0"}, word)
}

// removes tells whether a command only takes privileges away, or looks.
func removes(name string, args []string) bool {
	switch name {
	case "chmod":
		return slices.Contains(args, "u-s") || slices.Contains(args, "g-s")
	case "dpkg-statoverride":
		return slices.Contains(args, "--list") || slices.Contains(args, "--remove")
	}
	return false
}

var setsBit = regexp.MustCompile(`[+=][rwxX]*s`)

// compiles tells whether a word is a program that makes Python's bytecode, which a /usr that is only read has no place for.
func compiles(word string) bool {
	return path.Base(word) == "py_compile.py" || path.Ext(word) == ".rtupdate" || path.Ext(word) == ".rtinstall"
}

func (r *reader) privileges(c *syntax.CallExpr) {
	for _, w := range c.Args[1:] {
		for _, name := range r.expand(w) {
			if strings.Contains(name, unknown) {
				r.other(c)
			} else if inUsr(name) {
				r.found.Privileges = append(r.found.Privileges, Privilege{Path: below(name), How: r.shown(c)})
			}
		}
	}
}

// diversion reads dpkg-divert [--add] --divert TO [--package NAME] FROM. Without a place the file is called FROM.distrib.
func (r *reader) diversion(args []string) {
	var d Diversion
	for i := 0; i < len(args); i++ {
		switch word := args[i]; {
		case word == "--remove" || word == "--list" || word == "--listpackage" || word == "--truename":
			return
		case word == "--divert" && i+1 < len(args):
			i++
			d.To = args[i]
		case word == "--package":
			i++
		case !strings.HasPrefix(word, "-"):
			d.From = word
		}
	}
	if d.To == "" {
		d.To = d.From + ".distrib"
	}
	if inUsr(d.From) && inUsr(d.To) && !strings.Contains(d.From+d.To, unknown) {
		r.found.Diversions = append(r.found.Diversions, Diversion{below(d.From), below(d.To)})
	}
}

// shown prints a command with the values of its variables, where each has one.
func (r *reader) shown(c *syntax.CallExpr) string {
	var words []string
	for _, w := range c.Args {
		values := r.expand(w)
		if len(values) != 1 || strings.Contains(values[0], unknown) {
			return printed(c)
		}
		words = append(words, values[0])
	}
	return strings.Join(words, " ")
}

// alternatives reads update-alternatives --install LINK NAME PATH PRIORITY [--slave LINK NAME PATH]…
func (r *reader) alternatives(c *syntax.CallExpr, args []string) {
	at := slices.Index(args, "--install")
	if at < 0 {
		if !slices.Contains(args, "--remove") {
			r.other(c)
		}
		return
	}
	if len(args) < at+5 || slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, unknown) }) {
		r.other(c)
		return
	}
	priority, err := strconv.Atoi(args[at+4])
	if err != nil {
		r.other(c)
		return
	}
	add := func(link, to string) {
		if inUsr(link) && inUsr(to) {
			r.found.Alternatives = append(r.found.Alternatives, Alternative{Link: below(link), Path: below(to), Priority: priority})
		}
	}
	add(args[at+1], args[at+3])
	for i := at + 5; i+3 < len(args) && args[i] == "--slave"; i += 4 {
		add(args[i+1], args[i+3])
	}
}

func set(words string) map[string]bool {
	all := map[string]bool{}
	for word := range strings.FieldsSeq(words) {
		all[word] = true
	}
	return all
}

// onFiles are programs that change the files that they are given.
var onFiles = set("chgrp chmod chown cp dd dpkg-statoverride gzip install ln mktemp mv rm rmdir sed setfacl tar tee touch truncate")

// copies are those of them that change only the last one.
var copies = set("cp install ln")

// harmless are programs that change nothing in /usr, or nothing that an image needs: builtins of the shell, programs that only look, empty
// directories, services, accounts, questions, caches that are made from what is in the image, and files in /etc and /var.
var harmless = set(`
	[ test true false : echo printf exit return set shift cd umask export unset local trap read eval exec wait command type . getopts break continue
	awk basename cat cmp cut date diff dirname egrep expr fgrep find fold getent grep head hostname id ischroot ls md5sum readlink realpath sha256sum sleep sort stat tail
	tr uname uniq uuidgen wc which xargs

	mkdir deb-systemd-helper deb-systemd-invoke invoke-rc.d journalctl modprobe service start-stop-daemon systemctl systemd-machine-id-setup systemd-sysusers systemd-tmpfiles
	udevadm update-inetd update-rc.d systemd-hwdb
	aa-enabled apparmor_parser restorecon

	addgroup adduser chage deluser groupadd groupdel groupmod passwd useradd userdel usermod

	confmodule db_capb db_fget db_fset db_get db_go db_input db_metaget db_purge db_register db_reset db_set db_stop db_subst db_unregister db_version debconf
	dpkg dpkg-maintscript-helper dpkg-query dpkg-trigger ucf ucfq ucfr

	depmod fc-cache gdk-pixbuf-query-loaders gio-querymodules glib-compile-schemas gtk-update-icon-cache install-info ldconfig ldconfig.real locale-gen mandb
	py3clean py3compile pypy3compile pyclean pycompile update-binfmts update-ca-certificates update-catalog update-desktop-database update-grub
	update-icon-caches update-initramfs update-locale update-menus update-mime-database update-pciids update-usbids update-xmlcatalog
	clean-up-unmanaged-libraries`)
