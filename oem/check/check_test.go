package check

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// world is a base made of the tool root, and the blobs of images.
type world struct {
	*testing.T
	base  *target.Base
	blobs *store.Blobs
	image []tree.Entry

	scratch string
}

const libs = "/usr/lib/x86_64-linux-gnu"

// newWorld takes the tool root apart: what matches the patterns becomes the image, the rest is the base.
func newWorld(t *testing.T, patterns ...string) *world {
	t.Helper()
	dir := toolroottest.Open(t).Path("usr")
	all, err := tree.Scan(dir, digest.OfReader)
	if err != nil {
		t.Fatal(err)
	}
	scratch := t.TempDir()
	blobs, err := store.OpenBlobs(t.TempDir(), scratch)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, base: &target.Base{Arch: arch.AMD64, Dir: dir}, blobs: blobs, scratch: scratch}
	for _, e := range all.Below("/usr") {
		isImage := slices.ContainsFunc(patterns, func(pattern string) bool {
			matched, err := path.Match(pattern, e.Path)
			return err == nil && matched
		})
		if !isImage {
			w.base.Usr = append(w.base.Usr, e)
			continue
		}
		w.image = append(w.image, e)
		if e.Type == tree.File {
			content, err := os.ReadFile(filepath.Join(dir, strings.TrimPrefix(e.Path, "/usr")))
			if err != nil {
				t.Fatal(err)
			}
			w.keep(content)
		}
	}
	return w
}

func (w *world) keep(content []byte) digest.SHA256 {
	w.Helper()
	d, _, err := w.blobs.Add(bytes.NewReader(content))
	if err != nil {
		w.Fatal(err)
	}
	return d
}

// file adds a file to the image. It can be executed where programs are.
func (w *world) file(name, content string) {
	mode := uint32(0o644)
	if path.Base(path.Dir(name)) == "bin" {
		mode = 0o755
	}
	w.image = append(w.image, tree.Entry{Path: name, Type: tree.File, Mode: mode, Size: int64(len(content)), SHA256: w.keep([]byte(content))})
}

func (w *world) link(name, target string) {
	w.image = append(w.image, tree.Entry{Path: name, Type: tree.Symlink, Mode: 0o777, Target: target})
}

// content returns what a file of the tool root holds.
func (w *world) content(name string) string {
	w.Helper()
	content, err := os.ReadFile(filepath.Join(w.base.Dir, strings.TrimPrefix(name, "/usr")))
	if err != nil {
		w.Fatal(err)
	}
	return string(content)
}

func (w *world) without(name string) {
	w.image = slices.DeleteFunc(w.image, func(e tree.Entry) bool { return e.Path == name })
}

// problems checks the image, with the directories that its files lie in.
func (w *world) problems() []string {
	w.Helper()
	results, err := store.OpenResults(w.TempDir(), w.blobs, nil)
	if err != nil {
		w.Fatal(err)
	}
	checker, err := New(w.base, w.blobs, results, w.scratch)
	if err != nil {
		w.Fatal(err)
	}
	entries := slices.Clone(w.image)
	for _, e := range w.image {
		for dir := path.Dir(e.Path); dir != "/"; dir = path.Dir(dir) {
			entries = append(entries, tree.Entry{Path: dir, Type: tree.Dir, Mode: 0o755})
		}
	}
	image := slices.CompactFunc(tree.Sorted(entries), func(a, b tree.Entry) bool { return a.Path == b.Path })
	found, err := checker.Tree(w.Context(), image)
	if err != nil {
		w.Fatal(err)
	}
	var texts []string
	for _, problem := range found {
		texts = append(texts, problem.String())
	}
	return texts
}

// want compares the beginnings of problems.
func (w *world) want(beginnings ...string) {
	w.Helper()
	got := w.problems()
	for i := range got {
		if i < len(beginnings) && strings.HasPrefix(got[i], beginnings[i]) {
			got[i] = beginnings[i]
		}
	}
	if diff := cmp.Diff(beginnings, got); diff != "" {
		w.Errorf("-want +got:\n%s", diff)
	}
}

// squashfs-tools and what they need, as an image would have them.
var squashfs = []string{
	"/usr/bin/*sq*fs*", "/usr/bin/sqfs*", libs + "/liblzo2.so*", libs + "/liblz4.so*", libs + "/liblzma.so*",
}

func TestSoundImage(t *testing.T) {
	w := newWorld(t, squashfs...)
	if len(w.image) < 8 {
		t.Fatalf("the image has only %d entries", len(w.image))
	}
	w.file("/usr/bin/script", "#! /bin/sh -e\n")
	w.file("/usr/bin/by-env", "#!/usr/bin/env -S A=b bash -x\n")
	w.file("/usr/share/tool/template", "#!/usr/bin/python3\n")
	w.link("/usr/bin/abs", "/bin/sh")
	w.link("/usr/lib/systemd/system/masked.service", "/dev/null")
	w.link("/usr/share/tool/conf", "/etc/tool.conf")
	w.file("/usr/lib/tmpfiles.d/tool.conf", "f /etc/tool.conf 0644 root root -\n")
	w.file("/usr/lib/systemd/system/tool.service", "[Service]\nExecStart=+/usr/bin/script \\\n  --option\nExecStartPre=-/usr/bin/missing\nExecStop=sh -c true\nExecReload=/usr/bin/%i\n")
	w.file(setupUnit, "[Service]\nExecStart=/bin/sh\n") // for the rules
	w.file("/usr/lib/udev/rules.d/10-tool.rules", "# RUN=\"/usr/bin/missing\"\nACTION==\"add\", RUN+=\"/usr/bin/script %k\"\n")
	w.want()
}

func TestLibraries(t *testing.T) {
	w := newWorld(t, squashfs...)
	w.without(libs + "/liblzo2.so.2.0.0")
	// A library of the same name that offers other versions.
	w.without(libs + "/liblzma.so.5.8.1")
	for _, e := range w.image {
		if e.Type == tree.Symlink && path.Base(e.Path) == "liblzma.so.5" {
			w.file(path.Join(libs, e.Target), w.content(libs+"/libz.so.1"))
			break
		}
	}
	found := strings.Join(w.problems(), "\n")
	for _, want := range []string{
		`/usr/bin/mksquashfs needs liblzo2.so.2, which is not in its search path (/lib/x86_64-linux-gnu, `,
		`/usr/bin/mksquashfs needs version XZ_5.0 of liblzma.so.5, which /lib/x86_64-linux-gnu/liblzma.so.5 does not have`,
		libs + `/liblzo2.so.2 is a link to liblzo2.so.2.0.0: `,
	} {
		if !strings.Contains(found, want) {
			t.Errorf("no %q in\n%s", want, found)
		}
	}
}

// TestWindowsScripts finds interpreters whose names end with a carriage return, which the kernel does not find.
func TestWindowsScripts(t *testing.T) {
	w := newWorld(t)
	w.file("/usr/bin/plain", "#!/bin/sh\r\n")
	w.file("/usr/bin/env", "#!/usr/bin/env bash\r\ntrue\r\n")
	w.file("/usr/bin/later", "#!/bin/sh\nprintf 'x\r\n'\n")
	w.file("/usr/share/x/template", "#!/bin/sh\r\n")
	w.want("/usr/bin/env has CRLF line ends", "/usr/bin/plain has CRLF line ends, so that the kernel looks for an interpreter whose name ends with CR; write it with LF")
}

// TestFilesThatComeTooLate finds what is read before images are merged and not again.
func TestFilesThatComeTooLate(t *testing.T) {
	late := map[string]string{
		"/usr/lib/sysctl.d/90-x.conf":                       "/usr/lib/systemd/systemd-sysctl",
		"/usr/lib/modules-load.d/x.conf":                    "/usr/lib/systemd/systemd-modules-load",
		"/usr/lib/binfmt.d/x.conf":                          "/usr/lib/systemd/systemd-binfmt",
		"/usr/lib/systemd/network/10-x.network":             "/usr/bin/networkctl reload",
		"/usr/lib/systemd/network/10-y.netdev":              "/usr/bin/networkctl reload",
		"/usr/lib/systemd/network/zz-base.network.d/x.conf": "/usr/bin/networkctl reload",
		"/usr/lib/systemd/networkd.conf.d/x.conf":           "/usr/bin/systemctl try-restart systemd-networkd.service",
		"/usr/lib/systemd/resolved.conf.d/x.conf":           "/usr/bin/systemctl try-restart systemd-resolved.service",
		"/usr/lib/systemd/timesyncd.conf.d/x.conf":          "/usr/bin/systemctl try-restart systemd-timesyncd.service",
		"/usr/share/dbus-1/system.d/org.x.conf":             "/usr/bin/systemctl reload dbus.service",
		"/usr/lib/udev/rules.d/10-x.rules":                  "", // oem-setup itself
	}
	never := []string{
		"/usr/lib/systemd/journald.conf.d/x.conf", "/usr/lib/systemd/network/10-x.link", "/usr/lib/udev/hwdb.d/x.hwdb",
		"/usr/lib/systemd/logind.conf.d/x.conf", "/usr/lib/systemd/system.conf.d/x.conf", "/usr/lib/systemd/system-preset/90-x.preset",
	}
	for name, command := range late {
		w := newWorld(t)
		w.file(name, "")
		w.want(name + " is read by ")
		w.file(setupUnit, "[Service]\nExecStart=/bin/sh\n")
		if command != "" {
			w.want(name + " is read by ")
			w.file(setupUnit+".d/20-oem-x.conf", "[Service]\nExecStartPost=-"+command+"\n")
		}
		w.want()
		if got := strings.Join(ReadAgain(tree.Sorted(w.image)), " "); got != command {
			t.Errorf("%s is read again by %q; wanted %q", name, got, command)
		}
	}
	for _, name := range never {
		w := newWorld(t)
		w.file(name, "")
		w.file(setupUnit, "[Service]\nExecStart=/bin/sh\n")
		w.want(name + " is read by ")
		if got := ReadAgain(tree.Sorted(w.image)); len(got) > 0 {
			t.Errorf("%s is read again by %q", name, got)
		}
	}
	w := newWorld(t)
	for _, name := range []string{"/usr/lib/systemd/network/README", "/usr/lib/systemd/sleep.conf.d/x.conf", "/usr/lib/sysctl.d/x.txt", "/usr/lib/systemd/coredump.conf.d/x.conf"} {
		w.file(name, "")
	}
	w.want()
}

// A library where only the base's ld.so.cache would find it is not found: nothing rebuilds the cache.
func TestConfiguredDirectories(t *testing.T) {
	w := newWorld(t, "/usr/bin/mksquashfs", libs+"/liblzo2.so*")
	for i, e := range w.image {
		w.image[i].Path = strings.Replace(e.Path, libs, "/usr/lib/conf", 1)
	}
	lower := []tree.Entry{{Path: lowerEtc, Type: tree.Dir, Mode: 0o755}}
	dir := t.TempDir()
	for name, content := range map[string]string{
		"/ld.so.conf": "# comment\ninclude ld.so.conf.d/*.conf\n", "/ld.so.conf.d/a.conf": "/usr/lib/conf\n",
	} {
		lower = append(lower, tree.Entry{Path: lowerEtc + name, Type: tree.File, Mode: 0o644, Size: int64(len(content)), SHA256: digest.Of([]byte(content))})
		file := filepath.Join(dir, strings.TrimPrefix(lowerEtc, "/usr"), name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"/usr/share/flatcar", lowerEtc + "/ld.so.conf.d"} {
		lower = append(lower, tree.Entry{Path: dir, Type: tree.Dir, Mode: 0o755})
	}
	overlay(t, dir, w.base)
	w.base.Usr = tree.Sorted(append(w.base.Usr, lower...))
	w.want("/usr/bin/mksquashfs needs liblzo2.so.2, which is not in its search path (/usr/lib/conf, /lib/x86_64-linux-gnu, ")

	// The base's own are in its cache.
	if err := os.Mkdir(filepath.Join(dir, "lib/conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	var image []tree.Entry
	for _, e := range w.image {
		if !strings.HasPrefix(e.Path, "/usr/lib/conf/") {
			image = append(image, e)
			continue
		}
		w.base.Usr = append(w.base.Usr, e)
		if e.Type == tree.File {
			if err := os.Symlink(w.blobs.Path(e.SHA256), filepath.Join(dir, strings.TrimPrefix(e.Path, "/usr"))); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.base.Usr = tree.Sorted(append(w.base.Usr, tree.Entry{Path: "/usr/lib/conf", Type: tree.Dir, Mode: 0o755}))
	w.image = image
	w.want()
}

// overlay makes a base whose files are links to those of another, with more in dir.
func overlay(t *testing.T, dir string, base *target.Base) {
	t.Helper()
	for _, e := range base.Usr {
		name := filepath.Join(dir, strings.TrimPrefix(e.Path, "/usr"))
		var err error
		switch e.Type {
		case tree.Dir:
			err = os.MkdirAll(name, 0o755)
		case tree.File:
			err = os.Symlink(filepath.Join(base.Dir, strings.TrimPrefix(e.Path, "/usr")), name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	base.Dir = dir
}

func TestPrivateLibraries(t *testing.T) {
	w := newWorld(t, squashfs...)
	shadow := w.content(libs + "/libz.so.1")
	w.file("/usr/lib/libz.so.1", shadow)
	w.want("/usr/lib/libz.so.1 hides " + libs + "/libz.so.1 of the base, or is hidden by it; ")
}

func TestEveryProblemOfFiles(t *testing.T) {
	w := newWorld(t)
	w.file("/usr/bin/cut", w.content("/usr/bin/cat")[:600])
	foreign := []byte(w.content("/usr/bin/cat"))
	foreign[18] = 0xb7 // e_machine
	w.file("/usr/bin/foreign", string(foreign))
	w.file("/usr/bin/loader", strings.Replace(w.content("/usr/bin/cat"), "/lib64/ld-linux-x86-64.so.2", "/lib64/ld-musl-x86-64.so.02", 1))
	w.file("/usr/bin/script", "#!/usr/bin/python3 -x\n")
	w.file("/usr/bin/by-env", "#!/usr/bin/env -S python3 -x\n")
	w.file("/usr/bin/empty", "#!\n")
	w.link("/usr/bin/loop", "loop")
	w.link("/usr/share/gone", "../nowhere")
	w.link("/usr/share/run", "/run/tool/socket")
	w.link("/usr/share/etc", "/etc/tool.conf")
	w.link("/usr/share/out", "../../../../../../etc/shadow-")
	w.file("/usr/lib/systemd/system/a.service", "[Service]\nExecStart=@!/usr/bin/missing a b\n")
	w.file("/usr/lib/systemd/system/ssh.service.d/a.conf", "[Service]\nExecStartPost=missing\n")
	w.file("/usr/lib/systemd/system/b.service", "[Service]\nUser=nobody-here\nGroup=ours\nSupplementaryGroups=root none-here %i\n")
	w.file("/usr/lib/systemd/system/c.service", "[Service]\nUser=made-up\nDynamicUser=yes\n")
	w.file("/usr/lib/sysusers.d/b.conf", "g ours -\n")
	w.file(setupUnit, "[Service]\nExecStart=/bin/sh\n")
	w.file("/usr/lib/udev/rules.d/10-a.rules", "KERNEL==\"x\", PROGRAM=\"missing -a\", \\\n RUN{program}+=\"/usr/bin/gone\"\n")
	w.file("/usr/share/dbus-1/system-services/a.service", "[D-BUS Service]\nExec=/usr/bin/missing --bus\n")
	w.want(
		"/usr/bin/by-env wants the interpreter python3, which is in none of /usr/local/sbin",
		"/usr/bin/cut is an ELF file that cannot be read (",
		"/usr/bin/empty begins with #! but names no interpreter",
		"/usr/bin/foreign is for EM_AARCH64 ELFCLASS64; wanted EM_X86_64",
		"/usr/bin/loader wants the loader /lib64/ld-musl-x86-64.so.02, which does not exist",
		"/usr/bin/loop is a link to loop: is a loop of links",
		"/usr/bin/script wants the interpreter /usr/bin/python3, which does not exist",
		"/usr/lib/systemd/system/a.service starts /usr/bin/missing, which does not exist",
		"/usr/lib/systemd/system/b.service has SupplementaryGroups=none-here, which neither the base nor sysusers.d has",
		"/usr/lib/systemd/system/b.service has User=nobody-here, which neither the base nor sysusers.d has",
		"/usr/lib/systemd/system/ssh.service.d/a.conf starts missing, which does not exist",
		"/usr/lib/udev/rules.d/10-a.rules starts /usr/bin/gone, which does not exist",
		"/usr/lib/udev/rules.d/10-a.rules starts /usr/lib/udev/missing, which does not exist",
		"/usr/share/dbus-1/system-services/a.service starts /usr/bin/missing, which does not exist",
		"/usr/share/etc is a link to /etc/tool.conf: /etc/tool.conf is neither in the base nor in the image",
		"/usr/share/gone is a link to ../nowhere: /usr/nowhere is neither",
		"/usr/share/out is a link to ../../../../../../etc/shadow-: /etc/shadow- is neither",
		"/usr/share/run is a link to /run/tool/socket: exists only at run time",
	)
}

// What a unit needs to be started, beside its programs.
func TestFilesOfUnits(t *testing.T) {
	w := newWorld(t)
	w.file("/usr/share/tool/defaults", "A=b\n")
	w.file("/usr/lib/tmpfiles.d/tool.conf", "C /etc/tool - - - - /usr/share/tool\nd /var/lib/made 0755\nf \"/etc/default/made\"\nd /var/spool/a/b\n")
	w.file("/usr/lib/systemd/system/multi-user.target", "[Unit]\n")
	w.file("/usr/lib/systemd/system/b@.service", "[Service]\nExecStart=/usr/bin/cat\n")
	w.file("/usr/lib/systemd/system/a.service", "[Service]\nExecStart=/usr/bin/cat\nStateDirectory=own own2:alias\nWorkingDirectory=/var/lib/own\n"+
		"EnvironmentFile=-/etc/default/optional\nEnvironmentFile=/etc/default/made\nEnvironmentFile=/etc/tool/defaults\nEnvironmentFile=/run/metadata/flatcar\n"+
		"EnvironmentFile=/etc/%p.conf\nReadWritePaths=/var/lib/made -/var/lib/optional +/tmp/x /var/log /var/spool/a\nBindPaths=/usr/share/tool:/opt/tool\n"+
		"LoadCredential=key:/run/key\nLoadCredential=key\nWorkingDirectory=~\n")
	w.file("/usr/lib/systemd/system/c.service", "[Service]\nExecStart=/usr/bin/cat\nEnvironmentFile=/etc/default/missing\nLoadCredential=key:/etc/missing.key\n"+
		"WorkingDirectory=/var/lib/missing\nBindReadOnlyPaths=/opt/missing:/x\nReadWritePaths=/var/lib/made /etc/missing\nEnvironmentFile=/usr/share/tool/missing\n")
	w.file("/usr/lib/systemd/system/multi-user.target.d/10-x.conf", "[Unit]\nUpholds=a.service b@1.service d.service\n")
	w.file("/usr/lib/systemd/system/multiuser.target.d/10-x.conf", "[Unit]\nUpholds=a.service\n")
	w.want(
		"/usr/lib/systemd/system/c.service has BindReadOnlyPaths=/opt/missing, which neither the base nor the image has; make it by a line d",
		"/usr/lib/systemd/system/c.service has EnvironmentFile=/etc/default/missing, which neither the base nor the image has; files in /etc are not in an image",
		"/usr/lib/systemd/system/c.service has EnvironmentFile=/usr/share/tool/missing, which neither the base nor the image has; add it",
		"/usr/lib/systemd/system/c.service has LoadCredential=/etc/missing.key, which neither",
		"/usr/lib/systemd/system/c.service has ReadWritePaths=/etc/missing, which neither",
		"/usr/lib/systemd/system/c.service has WorkingDirectory=/var/lib/missing, which neither",
		"/usr/lib/systemd/system/multi-user.target.d/10-x.conf has Upholds=d.service, which neither",
		"/usr/lib/systemd/system/multiuser.target.d/10-x.conf is a drop-in for multiuser.target, which neither",
	)
}

// Some compilers of byte code use ELF for what only their own interpreter loads.
func TestByteCode(t *testing.T) {
	w := newWorld(t)
	library := []byte(w.content(libs + "/libz.so.1"))
	library[18], library[19] = 0, 0 // e_machine is EM_NONE
	w.file("/usr/lib/guile/boot.go", string(library))
	w.want()
	program := []byte(w.content("/usr/bin/cat"))
	program[18], program[19] = 0, 0
	w.file("/usr/bin/tool", string(program))
	w.want("/usr/bin/tool is for EM_NONE")
}

// What Debian's essential packages have, no package asks for.
func TestEssentialCommands(t *testing.T) {
	lacking := []string{"/usr/bin/dpkg", "/usr/bin/locale", "/usr/sbin/service"}
	w := newWorld(t, lacking...)
	for _, name := range lacking {
		w.without(name)
	}
	w.file("/usr/bin/calls", "#!/bin/sh\nif true; then x=$(/usr/bin/dpkg --print-architecture); fi\nlocale -a | while read l; do echo $l; done\n")
	w.file("/usr/bin/asks", "#!/bin/bash\nif command -v \"dpkg\" >/dev/null; then dpkg -l; fi\n[ ! -x /usr/bin/locale ] || locale\n")
	w.file("/usr/bin/has", "#!/bin/sh\nservice() { echo \"$@\"; }\nservice x\ncat /etc/passwd\nfrobnicate\n")
	w.file("/usr/bin/broken", "#!/bin/sh\nif dpkg; then\n")
	w.file("/usr/share/lib/dpkg", "#!/bin/sh\ndpkg -l\n")
	w.want(
		"/usr/bin/calls calls dpkg, which every Debian system has in its package dpkg and the base has not; add the package, or prune the script",
		"/usr/bin/calls calls locale, which every Debian system has in its package libc-bin",
	)
	w.file("/usr/bin/dpkg", "#!/bin/sh\n")
	w.want("/usr/bin/calls calls locale")
}

// What the program of a unit is told to read.
func TestArgumentsOfUnits(t *testing.T) {
	w := newWorld(t)
	w.file("/usr/share/tool/tool.conf", "")
	w.file("/usr/lib/tmpfiles.d/tool.conf", "C /etc/tool - - - - /usr/share/tool\n")
	w.file("/usr/lib/systemd/system/a.service", "[Unit]\nConditionPathExists=/etc/a.conf\n[Service]\nExecStart=/usr/bin/cat --config=/etc/tool/tool.conf /etc/tool -f \"/usr/share/tool/tool.conf\" "+
		"/etc/a.conf /etc/%i.conf /var/lib/tool /run/tool /usr/local/x $OPTIONS\n")
	w.file("/usr/lib/systemd/system/b.service", "[Service]\nExecStart=-/usr/bin/cat /etc/optional\nExecStart=/bin/sh -c 'cat /etc/other || true'\nExecStartPre=/usr/bin/cat /etc/before\n")
	w.file("/usr/lib/systemd/system/c.service", "[Service]\nExecStart=/usr/bin/cat /etc/c.conf --state /var/lib/c \\\n\t--config='/etc/d.conf' --plugins /usr/share/missing\n")
	w.want(
		"/usr/lib/systemd/system/c.service starts its program with /etc/c.conf, which neither the base nor the image has; files in /etc are not in an image",
		"/usr/lib/systemd/system/c.service starts its program with /etc/d.conf, which neither",
		"/usr/lib/systemd/system/c.service starts its program with /usr/share/missing, which neither the base nor the image has; add it",
	)
}

// module returns a kernel module that holds nothing but its version.
func module(t *testing.T, vermagic string) string {
	t.Helper()
	info := "license=GPL\x00vermagic=" + vermagic + " SMP preempt mod_unload\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	header := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2,
		Shoff: 64 + uint64(len(info)+len(names)),
	}
	copy(header.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	var b bytes.Buffer
	for _, value := range []any{
		header, []byte(info), []byte(names), elf.Section64{},
		elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: 64, Size: uint64(len(info))},
		elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: 64 + uint64(len(info)), Size: uint64(len(names))},
	} {
		if err := binary.Write(&b, binary.LittleEndian, value); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestKernelModules(t *testing.T) {
	w := newWorld(t)
	for _, dir := range []string{"/usr/lib/modules", "/usr/lib/modules/6.12.1"} {
		w.base.Usr = append(w.base.Usr, tree.Entry{Path: dir, Type: tree.Dir, Mode: 0o755})
	}
	w.base.Usr = tree.Sorted(w.base.Usr)
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.file("/usr/lib/modules/6.12.1/extra/good.ko", module(t, "6.12.1"))
	w.file("/usr/lib/modules/6.12.1/extra/good.ko.zst", string(encoder.EncodeAll([]byte(module(t, "6.12.1")), nil)))
	const noIndex = " is a kernel module that no modules.dep names, so modprobe does not find it"
	w.want("/usr/lib/modules/6.12.1/extra/good.ko"+noIndex, "/usr/lib/modules/6.12.1/extra/good.ko.zst"+noIndex)
	w.file("/usr/lib/modules/6.12.1/modules.dep", "extra/good.ko:\nextra/good.ko.zst: extra/good.ko\nextra/old.ko.zst:\nextra/cut.ko.zst:\n")
	w.want()
	w.file("/usr/lib/elsewhere.ko", module(t, "6.12.1"))
	w.file("/usr/lib/modules/6.12.1/extra/cut.ko.zst", string(encoder.EncodeAll([]byte(module(t, "6.12.1")), nil)[:50]))
	w.file("/usr/lib/modules/6.12.1/extra/old.ko.zst", string(encoder.EncodeAll([]byte(module(t, "6.6.0")), nil)))
	w.want(
		"/usr/lib/elsewhere.ko is a kernel module outside /usr/lib/modules/6.12.1",
		"/usr/lib/modules/6.12.1/extra/cut.ko.zst is an ELF file that cannot be read",
		"/usr/lib/modules/6.12.1/extra/old.ko.zst is for kernel 6.6.0, but the base has 6.12.1",
	)
}

// The directories that are read out of a loader are those that it names itself.
func TestSystemDirs(t *testing.T) {
	tools := toolroottest.Open(t)
	const loader = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
	f, err := os.Open(tools.Path(loader))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	length, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	got, err := systemDirs(f, length)
	if err != nil {
		t.Fatal(err)
	}
	said := diagnostics(t, "/"+loader)
	if diff := cmp.Diff(said, got); diff != "" || len(said) < 2 {
		t.Errorf("-said +read:\n%s", diff)
	}
}

var systemDir = regexp.MustCompile(`(?m)^path\.system_dirs\[0x[0-9a-f]+\]="(.*)/"$`)

func diagnostics(t *testing.T, loader string) []string {
	t.Helper()
	var out bytes.Buffer
	if err := toolroottest.Open(t).Run(t.Context(), toolroot.Cmd{Program: loader, Args: []string{"--list-diagnostics"}, Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, match := range systemDir.FindAllStringSubmatch(out.String(), -1) {
		dirs = append(dirs, match[1])
	}
	return dirs
}

func TestResultsAreKept(t *testing.T) {
	w := newWorld(t)
	w.file("/usr/bin/script", "#!/usr/bin/python3\n")
	results, err := store.OpenResults(t.TempDir(), w.blobs, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		checker, err := New(w.base, w.blobs, results, w.scratch)
		if err != nil {
			t.Fatal(err)
		}
		found, err := checker.Tree(t.Context(), w.image)
		if err != nil || len(found) != 1 {
			t.Fatalf("found %v, %v", found, err)
		}
		if err := os.RemoveAll(w.blobs.Path(w.image[0].SHA256)); err != nil { // nothing is read the second time
			t.Fatal(err)
		}
	}
}

// TestModulesForOtherOptions refuses a module that the kernel would refuse, though it is for its release.
func TestModulesForOtherOptions(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	ofBase := []byte(module(t, "6.12.1"))
	const name = "/usr/lib/modules/6.12.1/kernel/base.ko"
	if err := os.MkdirAll(filepath.Join(dir, "lib/modules/6.12.1/kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, strings.TrimPrefix(name, "/usr/")), ofBase, 0o600); err != nil {
		t.Fatal(err)
	}
	w.base = &target.Base{Arch: arch.AMD64, Dir: dir, Usr: tree.Tree{
		{Path: name, Type: tree.File, Mode: 0o644, Size: int64(len(ofBase)), SHA256: digest.Of(ofBase)},
	}.WithParents(nil)}
	w.file("/usr/lib/modules/6.12.1/modules.dep", "extra/good.ko:\nextra/other.ko:\n")
	w.file("/usr/lib/modules/6.12.1/extra/good.ko", module(t, "6.12.1"))
	w.want()
	w.file("/usr/lib/modules/6.12.1/extra/other.ko", strings.Replace(module(t, "6.12.1"), "preempt mod_unload", "preempt mod_unl0ad", 1))
	w.want(`/usr/lib/modules/6.12.1/extra/other.ko is for a kernel with other options ("6.12.1 SMP preempt mod_unl0ad"), but the base's is "6.12.1 SMP preempt mod_unload"; build it`)
}

// TestExtensionsOfTheBase looks units and files up in what the base merges by default as well.
func TestExtensionsOfTheBase(t *testing.T) {
	w := newWorld(t)
	merged := func(name, content string) {
		mode := uint32(0o644)
		if strings.Contains(name, "/bin/") {
			mode = 0o755
		}
		e := tree.Entry{Path: name, Type: tree.File, Mode: mode, Size: int64(len(content)), SHA256: w.keep([]byte(content))}
		w.base.Merged = tree.Sorted(append(w.base.Merged, e)).WithParents(w.base.Usr)
	}
	w.file("/usr/lib/systemd/system/multi-user.target", "[Unit]\n")
	w.file("/usr/lib/systemd/system/multi-user.target.d/10-x.conf", "[Unit]\nUpholds=docker.service\n")
	w.file("/usr/lib/systemd/system/docker.service.d/10-x.conf", "[Service]\nExecStartPre=/usr/bin/dockerd --check\nUser=dockremap\n")
	w.file("/usr/bin/check", "#!/usr/bin/dockerd\n")
	w.link("/usr/share/x/dockerd", "../../bin/dockerd")
	if got := strings.Join(w.problems(), "\n"); !strings.Contains(got, "Upholds=docker.service") || !strings.Contains(got, "starts /usr/bin/dockerd, which does not exist") {
		t.Errorf("without the extension: %s", got)
	}
	merged("/usr/lib/systemd/system/docker.service", "[Service]\nExecStart=/usr/bin/dockerd\n")
	merged("/usr/bin/dockerd", "#!/bin/sh\n")
	merged("/usr/lib/sysusers.d/docker.conf", "u dockremap - \"x\"\n")
	w.want()
	w.file("/usr/lib/sysusers.d/docker.conf", "u other - \"x\"\n")
	w.file("/usr/bin/dockerd", "#!/bin/sh\n")
	w.want(
		"/usr/lib/systemd/system/docker.service.d/10-x.conf has User=dockremap",
		"/usr/lib/sysusers.d/docker.conf differs from that of an extension that the base merges by default; prune it, or use a drop-in",
	)
	if got := w.failures(Command{Run: "cat /usr/lib/systemd/system/docker.service", Says: "dockerd"}); len(got) > 0 {
		t.Errorf("commands do not see the extension: %v", got)
	}
}
