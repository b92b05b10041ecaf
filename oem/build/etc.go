package build

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// checkEtc asks about files in /etc, which no image has, that the program of a service reads: without its configuration a service does not
// start, or does something else. scanned has all that the sources bring and the recipe does not move; made is what becomes of it. Answers
// are move:, a line of tmpfiles.d that makes the file, and prune:, for what the service can do without.
func (b *Builder) checkEtc(scanned, made tree.Tree, r *recipe.Recipe) error {
	atBoot, err := b.madeAtBoot(made)
	if err != nil {
		return err
	}
	var lacking []string
	for _, e := range scanned.Under("/etc") {
		if e.Type != tree.Dir && !documentation.MatchString(e.Path) && !prunes(r, e.Path) && !atBoot(e.Path) {
			lacking = append(lacking, e.Path)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	var asked []error
	for _, unit := range made.Under("/usr/lib/systemd/system") {
		if unit.Type != tree.File || path.Ext(unit.Path) != ".service" {
			continue
		}
		text, err := b.content(unit)
		if err != nil {
			return err
		}
		for _, program := range programsOf(text) {
			read, err := b.readsOf(program, made, lacking)
			if err != nil {
				return err
			}
			if len(read) > 0 {
				asked = append(asked, fmt.Errorf("%s: %s starts %s, which reads %s; no image has files in /etc: move: it below /usr/share and make it "+
					"by a line L or C in a file in /usr/lib/tmpfiles.d, or name it in prune: if the service does without", r.File, path.Base(unit.Path), program, some(read)))
				lacking = slices.DeleteFunc(lacking, func(name string) bool { return slices.Contains(read, name) }) // once is enough
			}
		}
	}
	return errors.Join(append(asked, moveThese(lacking, made, r))...)
}

// documentation are files that nothing but people read.
var documentation = regexp.MustCompile(`/README[^/]*$|\.(example|sample)$`)

// moveThese asks about files that are read elsewhere below /usr as well (pam.conf(5), dbus-daemon(1)).
func moveThese(lacking []string, made tree.Tree, r *recipe.Recipe) error {
	var asked []error
	for _, name := range lacking {
		to := map[string]string{"/etc/pam.d": "/usr/lib/pam.d", "/etc/dbus-1/system.d": "/usr/share/dbus-1/system.d"}[path.Dir(name)]
		if _, has := made.Find(path.Join(to, path.Base(name))); to != "" && !has {
			asked = append(asked, fmt.Errorf("%s: no image has %s; write move: {%[2]s: %s/%s}, or name it in prune: if nothing needs it", r.File, name, to, path.Base(name)))
		}
	}
	return errors.Join(asked...)
}

// readsOf returns those of the files that a program of the tree names, by path or by the directory below /etc that they are all in.
func (b *Builder) readsOf(program string, made tree.Tree, files []string) ([]string, error) {
	e, has := made.Find(below(program))
	if !has || e.Type != tree.File {
		return nil, nil
	}
	text, err := b.content(e)
	if err != nil {
		return nil, err
	}
	var read []string
	for _, file := range files {
		name, _, isDir := strings.Cut(strings.TrimPrefix(file, "/etc/"), "/")
		own := isDir && !ofAll.MatchString(name) && names(text, "/etc/"+name)
		if own || names(text, file) {
			read = append(read, file)
		}
	}
	return read, nil
}

// ofAll are directories of /etc in which many packages have files.
var ofAll = regexp.MustCompile(`^(alternatives|apparmor\.d|apt|bash_completion\.d|cron\..*|dbus-1|default|dpkg|emacs|fonts|init|init\.d|kernel|ld\.so\.conf\.d|` +
	`logcheck|logrotate\.d|modprobe\.d|modules-load\.d|network|opt|pam\.d|polkit-1|ppp|profile\.d|rc.\.d|rsyslog\.d|security|skel|ssl|sudoers\.d|sysctl\.d|` +
	`systemd|terminfo|tmpfiles\.d|udev|ufw|X11|xdg|xml)$`)

// names tells whether a text has a path, and not only one that it begins.
func names(text []byte, name string) bool {
	for rest := text; ; {
		at := bytes.Index(rest, []byte(name))
		if at < 0 {
			return false
		}
		if rest = rest[at+len(name):]; len(rest) == 0 || !strings.ContainsRune(wordBytes, rune(rest[0])) {
			return true
		}
	}
}

const wordBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

// programsOf returns the programs that a unit starts (systemd.service(5)).
func programsOf(unit []byte) (programs []string) {
	for _, match := range startsProgram.FindAllSubmatch(unit, -1) {
		programs = append(programs, string(match[1]))
	}
	return programs
}

var startsProgram = regexp.MustCompile(`(?m)^ExecStart(?:Pre)?\s*=\s*[@:+!|]*(/[^\s%$]+)`)

// madeAtBoot returns what tells whether a line of tmpfiles.d makes a path, or what it is in.
func (b *Builder) madeAtBoot(made tree.Tree) (func(name string) bool, error) {
	var lines []string
	for _, e := range made.Under("/usr/lib/tmpfiles.d") {
		if e.Type != tree.File {
			continue
		}
		text, err := b.content(e)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if words := strings.Fields(line); len(words) > 1 && strings.ContainsAny(words[0][:1], "fLC") {
				lines = append(lines, words[1])
			}
		}
	}
	return func(name string) bool {
		for ; name != "/"; name = path.Dir(name) {
			if slices.Contains(lines, name) {
				return true
			}
		}
		return false
	}, nil
}

func (b *Builder) content(e tree.Entry) ([]byte, error) {
	var out bytes.Buffer
	err := b.Blobs.CopyTo(&out, e.SHA256)
	return out.Bytes(), err
}

// below returns the path of a program below /usr, to which /bin and /sbin lead.
func below(name string) string {
	if name = path.Clean(name); strings.HasPrefix(name, "/usr/") {
		return name
	}
	return "/usr" + name
}

// some lists the first of many.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
