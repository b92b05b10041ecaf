package maintainer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	nc := []Alternative{{"usr/bin/nc", "usr/bin/nc.small", 50}, {"usr/share/man/man1/nc.1.gz", "usr/share/man/man1/nc.small.1.gz", 50}}
	setcap := []Privilege{{"usr/bin/probe", "setcap cap_net_raw+ep /usr/bin/probe"}}
	for name, c := range map[string]struct {
		script string
		want   Effects
	}{
		"nothing":       {"exit 0", Effects{}},
		"alternative":   {"update-alternatives --quiet --install /bin/nc nc /bin/nc.small 50 --slave /usr/share/man/man1/nc.1.gz nc.1.gz /usr/share/man/man1/nc.small.1.gz", Effects{Alternatives: nc}},
		"by variables":  {"for name in nc; do dir=/usr/bin\nupdate-alternatives --install $dir/$name $name \"$dir/$name.small\" 5; done", Effects{Alternatives: []Alternative{{"usr/bin/nc", "usr/bin/nc.small", 5}}}},
		"outside":       {"update-alternatives --install /etc/x x /etc/x.small 50", Effects{}},
		"removed":       {"update-alternatives --remove nc /bin/nc.small", Effects{}},
		"computed":      {"update-alternatives --install $(find_it) nc /bin/nc.small 50", Effects{Others: []string{"update-alternatives --install $(find_it) nc /bin/nc.small 50", "find_it"}}},
		"capability":    {"PROGRAM=$(dpkg-divert --truename /usr/bin/probe)\nif setcap cap_net_raw+ep $PROGRAM; then chmod u-s $PROGRAM; fi", Effects{Privileges: setcap}},
		"setuid":        {"chmod 4755 /usr/bin/probe; chmod 755 /etc/x; chmod u+s /var/lib/x", Effects{Privileges: []Privilege{{"usr/bin/probe", "chmod 4755 /usr/bin/probe"}}}},
		"by a function": {"give() {\nMODE=$3\nchown $1:$2 $4; chmod $MODE $4\n}\ncase \"$1\" in configure) give root root 4755 /usr/bin/probe ;; esac", Effects{Privileges: []Privilege{{"usr/bin/probe", "chmod 4755 /usr/bin/probe"}}}},
		"of two calls":  {"give() { chmod $1 $2; }\ngive 755 /usr/bin/other\ngive 4755 /usr/bin/probe", Effects{Privileges: []Privilege{{"usr/bin/other", "chmod $1 $2"}, {"usr/bin/probe", "chmod $1 $2"}}}},
		"an owner":      {"chown games:games /usr/bin/probe; chown root:root /usr/bin/x; chown tool /var/lib/x; chown $WHO /usr/bin/y", Effects{Privileges: []Privilege{{"usr/bin/probe", "chown games:games /usr/bin/probe"}}, Others: []string{"chown $WHO /usr/bin/y"}}},
		"diversion":     {"dpkg-divert --add --package x --rename --divert /usr/bin/x.old /bin/x; dpkg-divert --remove /usr/bin/y; dpkg-divert --rename /usr/bin/z; dpkg-divert /etc/x", Effects{Diversions: []Diversion{{"usr/bin/x", "usr/bin/x.old"}, {"usr/bin/z", "usr/bin/z.distrib"}}}},
		"statoverride":  {"if ! dpkg-statoverride --list /usr/bin/probe; then dpkg-statoverride --update --add root games 2755 /usr/bin/probe; fi", Effects{Privileges: []Privilege{{"usr/bin/probe", "dpkg-statoverride --update --add root games 2755 /usr/bin/probe"}}}},
		"services":      {"deb-systemd-helper enable x.service >/dev/null || true\nsystemctl --system daemon-reload\nstart-stop-daemon --stop --exec /usr/sbin/x\nmodprobe x\nldconfig\nadduser --system x", Effects{}},
		"etc and var":   {"mkdir -p $(dirname /etc/x/y); cp /usr/share/x/y /etc/x/y; echo 1 >/var/lib/x; rm -f /usr/local/bin/x", Effects{}},
		"usr":           {"cp /etc/x /usr/lib/x; echo 1 >/usr/lib/y; ln -s a /lib/b", Effects{Others: []string{"cp /etc/x /usr/lib/x", "writes to /usr/lib/y", "ln -s a /lib/b"}}},
		"directories":   {"mkdir -p /usr/lib/x; install -d -o root -m 0755 \"$DPKG_ROOT/usr/lib/y\"; install -m 755 /etc/x /usr/lib/z", Effects{Others: []string{"install -m 755 /etc/x /usr/lib/z"}}},
		"a program":     {"probe --make-cache", Effects{Others: []string{"probe --make-cache"}}},
		"a function":    {"make_cache() { probe --make; }\nmake_cache", Effects{Others: []string{"probe --make"}}},
		"stages":        {"case \"$1\" in configure) probe --new ;; abort-upgrade|abort-remove) probe --old ;; *) exit 1 ;; esac", Effects{Others: []string{"probe --new"}}},
		"its hooks":     {"for hook in /usr/share/python3/runtime.d/*.rtupdate /usr/share/python3/runtime.d/*.rtinstall; do [ -x $hook ] || continue; $hook rtupdate python$oldv python3.13; done", Effects{}},
		"other hooks":   {"for hook in /usr/share/x/*.update; do $hook; done", Effects{Others: []string{"$hook"}}},
		"catalogs":      {"update-xmlcatalog --add --root --package x --local /usr/share/xml/x\nupdate-icon-caches /usr/share/icons/x; update-menus", Effects{}},
		"old files":     {"if [ -n \"$2\" ] && ! /usr/share/libx/clean-up-unmanaged-libraries \"$@\" x86_64-linux-gnu libx.so.2; then exit 1; fi", Effects{}},
		"bytecode":      {"python3 -E -S /usr/lib/python3/py_compile.py /usr/lib/x.py", Effects{}},
	} {
		got, err := Read([]byte("#!/bin/sh\nset -e\n" + c.script + "\n"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: wanted (-), got (+):\n%s", name, diff)
		}
	}
}

func TestOtherLanguages(t *testing.T) {
	for _, script := range []string{"#!/usr/bin/perl\nexit 0;\n", "no first line", ""} {
		got, err := Read([]byte(script))
		if err != nil || len(got.Others) != 1 || !strings.Contains(got.Others[0], "not for the shell") {
			t.Errorf("%q gives %+v, %v", script, got, err)
		}
	}
	if _, err := Read([]byte("#!/bin/sh\nif true\n")); err == nil || !strings.Contains(err.Error(), "postinst: 2:1") {
		t.Errorf("error is %v", err)
	}
}

// The values of a word multiply, and are bounded.
func TestManyValues(t *testing.T) {
	loops := "for a in 1 2 3 4 5 6 7 8 9; do for b in 1 2 3 4 5 6 7 8 9; do for c in 1 2 3 4 5 6 7 8 9; do rm /usr/$a$b$c$a$b$c$a$b$c; done; done; done"
	if got, err := Read([]byte("#!/bin/sh\n" + loops)); err != nil || len(got.Others) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("#!/bin/sh\nfor x in a b; do update-alternatives --install /bin/$x $x /bin/$x.$x 1; done >/usr/x"))
	f.Fuzz(func(t *testing.T, script []byte) {
		got, err := Read(append([]byte("#!/bin/sh\n"), script...))
		if err != nil {
			return
		}
		for _, a := range got.Alternatives {
			if !strings.HasPrefix(a.Link, "usr/") || !strings.HasPrefix(a.Path, "usr/") || strings.Contains(a.Link+a.Path, unknown) {
				t.Errorf("%+v", a)
			}
		}
		for _, p := range got.Privileges {
			if !strings.HasPrefix(p.Path, "usr/") {
				t.Errorf("%+v", p)
			}
		}
	})
}
