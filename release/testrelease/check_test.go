package testrelease

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/base"
)

// Commands run as on a machine whose /etc has only what tmpfiles.d makes.
func TestCommandsFindWhatIsMadeAtBoot(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, append(append(base.Programs(), check.Programs()...), "go")...)
	w, err := release.Open(t.Context(), Fresh(t))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Bench.Close()
	checker, err := check.New(w.Base.Target, w.Bench.Blobs, w.Bench.Results, w.Bench.Scratch)
	if err != nil {
		t.Fatal(err)
	}
	var image tree.Tree
	for name, content := range map[string]string{
		"/usr/share/agent/agent.conf":    "key=value\n",
		"/usr/lib/tmpfiles.d/agent.conf": "L /etc/agent.conf - - - - ../usr/share/agent/agent.conf\nd /var/lib/agent 0700 root root -\n",
	} {
		d, n, err := w.Bench.Blobs.Add(strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		image = append(image, tree.Entry{Path: name, Type: tree.File, Mode: 0o644, Size: n, SHA256: d})
	}
	commands := []check.Command{
		{Run: "cat /etc/agent.conf", Says: "key=value"},
		{Run: "test -d /var/lib/agent"},
		{Run: "cat /etc/ssl/certs/ca-certificates.crt"}, // only in the base's default /etc
	}
	found, err := checker.Works(t.Context(), tree.Sorted(image).WithParents(w.Base.Target.Usr), commands)
	if err != nil || len(found) != 1 || found[0].Command != 2 {
		t.Errorf("failures are %+v, %v", found, err)
	}
}

// A module of one's own is found by modprobe: the indexes are of base and image. Modules for other kernels are refused.
func TestOwnKernelModules(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, append(append(base.Programs(), check.Programs()...), "go")...)
	w, err := release.Open(t.Context(), Fresh(t))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Bench.Close()
	checker, err := check.New(w.Base.Target, w.Bench.Blobs, w.Bench.Results, w.Bench.Scratch)
	if err != nil {
		t.Fatal(err)
	}
	dir := "/usr/lib/modules/" + w.Base.Release
	ofBase := dir + "/kernel/drivers/net/dummy.ko.xz"
	f, err := os.Open(filepath.Join(w.Base.Usr, strings.TrimPrefix(ofBase, "/usr")))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, n, err := w.Bench.Blobs.Add(f)
	if err != nil {
		t.Fatal(err)
	}
	own := tree.Tree{{Path: dir + "/extra/own-dummy.ko.xz", Type: tree.File, Mode: 0o644, Size: n, SHA256: d}}.WithParents(w.Base.Target.Usr)
	modprobe := check.Command{Run: "modprobe --set-version=" + w.Base.Release + " --show-depends own-dummy", Says: dir[len("/usr"):] + "/extra/own-dummy.ko.xz"}
	ofOthers := check.Command{Run: "modprobe --set-version=" + w.Base.Release + " --show-depends virtio_net", Says: "failover.ko"}
	if found, err := checker.Works(t.Context(), own, []check.Command{modprobe, ofOthers}); err != nil || len(found) != 1 {
		t.Errorf("without an index: %+v, %v", found, err)
	}
	if found, err := checker.Tree(t.Context(), own); err != nil || len(found) != 1 || !strings.Contains(found[0].Text, "modprobe does not find it") {
		t.Errorf("without an index: %v, %v", found, err)
	}
	indexes, err := checker.ModuleIndexes(t.Context(), own)
	if err != nil {
		t.Fatal(err)
	}
	merged, _ := tree.Merge(indexes, own)
	if found, err := checker.Tree(t.Context(), merged); err != nil || len(found) > 0 {
		t.Errorf("with indexes: %v, %v", found, err)
	}
	if found, err := checker.Works(t.Context(), merged, []check.Command{modprobe, ofOthers}); err != nil || len(found) > 0 {
		t.Errorf("with indexes: %+v, %v", found, err)
	}
	for _, e := range indexes {
		if below, has := w.Base.Target.Usr.Find(e.Path); has && e.Type == tree.File && below.SHA256 == e.SHA256 {
			t.Errorf("%s is the base's", e.Path)
		}
	}
	if again, err := checker.ModuleIndexes(t.Context(), merged); err != nil || again != nil {
		t.Errorf("indexes of one's own are made again: %v, %v", again, err)
	}
	if none, err := checker.ModuleIndexes(t.Context(), nil); err != nil || none != nil {
		t.Errorf("a tree without modules has indexes: %v, %v", none, err)
	}
}

// The base's own systemd says what is wrong with an image's units, users, temporary files and device rules,
// and nothing about those of the base.
func TestSystemdJudgesImages(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, append(append(base.Programs(), check.Programs()...), "go")...)
	w, err := release.Open(t.Context(), Fresh(t))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Bench.Close()
	checker, err := check.New(w.Base.Target, w.Bench.Blobs, w.Bench.Results, w.Bench.Scratch)
	if err != nil {
		t.Fatal(err)
	}
	image := func(files map[string]string) []string {
		var entries []tree.Entry
		for name, content := range files {
			d, n, err := w.Bench.Blobs.Add(strings.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, tree.Entry{Path: name, Type: tree.File, Mode: 0o644, Size: n, SHA256: d})
			for i, c := range name {
				if c == '/' && i > 0 {
					entries = append(entries, tree.Entry{Path: name[:i], Type: tree.Dir, Mode: 0o755})
				}
			}
		}
		found, err := checker.Tree(t.Context(), unique(tree.Sorted(entries)))
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, problem := range found {
			texts = append(texts, problem.String())
		}
		return texts
	}
	const units = "/usr/lib/systemd/system/"
	if found := image(map[string]string{
		units + "good.service":               "[Unit]\nAfter=later.service\n[Service]\nUser=tool\nExecStart=/bin/sh -c true\n",
		units + "multi-user.target.d/a.conf": "[Unit]\nUpholds=good.service\n",
		"/usr/lib/sysusers.d/a.conf":         "u tool - \"Some tool\"\n",
		"/usr/lib/tmpfiles.d/a.conf":         "d /run/tool 0755 tool core -\n",
		units + "oem-setup.service":          "[Service]\nExecStart=/bin/sh -c true\n", // for the rules
		"/usr/lib/udev/rules.d/10-a.rules":   "ACTION==\"add\", SYMLINK+=\"tool\"\n",
	}); len(found) > 0 {
		t.Errorf("a sound image has problems: %q", found)
	}
	found := strings.Join(image(map[string]string{
		units + "a.service":                         "[Unit]\nFrobnicate=yes\nRequires=gone.service\n[Service]\nExecStart=/bin/sh -c true\n",
		units + "empty.service":                     "[Unit]\nDescription=starts nothing\n",
		units + "systemd-networkd.service.d/a.conf": "[Service]\nRestart=maybe\n",
		"/usr/lib/sysusers.d/a.conf":                "u tool a b c d e f\n",
		"/usr/lib/tmpfiles.d/a.conf":                "d /run/tool 0755 nobody-there root -\nz\n",
		"/usr/lib/udev/rules.d/10-a.rules":          "ACTION==\"add\", FROBNICATE==\"x\"\n",
	}), "\n")
	for _, want := range []string{
		units + "a.service line 2: systemd reports: Unknown key 'Frobnicate'",
		"Unit gone.service not found",
		"empty.service",
		units + "systemd-networkd.service.d/a.conf line 2: systemd reports: ",
		"/usr/lib/sysusers.d/a.conf line 1: systemd reports: ",
		"/usr/lib/tmpfiles.d/a.conf line 1: systemd reports: Failed to resolve user 'nobody-there'",
		"/usr/lib/tmpfiles.d/a.conf line 2: systemd reports: Syntax error",
		"/usr/lib/udev/rules.d/10-a.rules line 1: systemd reports: Invalid key 'FROBNICATE'",
	} {
		if !strings.Contains(found, want) {
			t.Errorf("no problem %q in\n%s", want, found)
		}
	}
}

func unique(t tree.Tree) tree.Tree {
	kept := t[:1]
	for _, e := range t[1:] {
		if e.Path != kept[len(kept)-1].Path {
			kept = append(kept, e)
		}
	}
	return kept
}
