package stage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
)

var (
	azure = &platform.Platform{ID: strictyaml.Text{Value: "azure"}, Name: "Microsoft Azure", Homepage: "https://azure.example", File: "platforms/azure.yaml"}
	base  = &target.Base{
		ID: "flatcar", VersionID: "1.2.3", Arch: arch.AMD64,
		Usr: files("/usr/bin/sh", "shell", "/usr/lib/libc.so", "c"),
	}
)

// files makes a tree of path, content, path, content …
func files(pairs ...string) tree.Tree {
	var entries []tree.Entry
	seen := map[string]bool{}
	for pair := range slices.Chunk(pairs, 2) {
		for i, c := range pair[0] {
			if dir := pair[0][:i]; c == '/' && i > 0 && !seen[dir] {
				seen[dir] = true
				entries = append(entries, tree.Entry{Path: dir, Type: tree.Dir, Mode: 0o755})
			}
		}
		entries = append(entries, tree.Entry{
			Path: pair[0], Type: tree.File, Mode: 0o644, Size: int64(len(pair[1])), SHA256: digest.Of([]byte(pair[1])),
		})
	}
	return tree.Sorted(entries)
}

func part(name string, content tree.Tree) Part {
	return Part{Recipe: &recipe.Recipe{Name: strictyaml.Text{Value: name}, File: "recipes/" + name + "/recipe.yaml"}, Tree: content}
}

func stage(t *testing.T, p *platform.Platform, parts ...Part) (Staged, error) {
	t.Helper()
	return newStager().Stage(t.Context(), p, "2.11-1", parts)
}

func newStager() *Stager {
	return &Stager{
		Base: base,
		Keep: func(content string) (digest.SHA256, error) { return digest.Of([]byte(content)), nil },
		Check: func(_ context.Context, t tree.Tree) ([]check.Problem, error) {
			checked = append(checked, t)
			return found, nil
		},
		Indexes: func(context.Context, tree.Tree) (tree.Tree, error) { return indexes, nil },
		Works: func(_ context.Context, _ tree.Tree, commands []check.Command) (failures []check.Failure, err error) {
			for i, command := range commands {
				if text := failing[command.Run]; text != "" {
					failures = append(failures, check.Failure{Command: i, Text: text})
				}
			}
			return failures, nil
		},
	}
}

// found is what the check finds, failing how commands fail.
var (
	found   []check.Problem
	failing map[string]string
	checked []tree.Tree // what the check was asked about
	indexes tree.Tree   // of kernel modules
)

func TestStage(t *testing.T) {
	got, err := stage(t, azure,
		part("a", files("/usr/bin/a", "a", "/usr/lib/shared", "same", "/usr/lib/libc.so", "c")),
		part("b", files("/usr/bin/b", "b", "/usr/lib/shared", "same")),
	)
	if err != nil {
		t.Fatal(err)
	}
	release := "ID=flatcar\nVERSION_ID=1.2.3\nARCHITECTURE=x86-64\nEXTENSION_RELOAD_MANAGER=1\nSYSEXT_ID=oem-azure\n" +
		"SYSEXT_NAME=\"Microsoft Azure OEM tools\"\nSYSEXT_VERSION_ID=2.11-1\nSYSEXT_HOME_URL=\"https://azure.example\"\n" +
		"SYSEXT_BUG_REPORT_URL=\"https://github.com/flatcar/oem-sysext/issues\"\n"
	want := files("/usr/bin/a", "a", "/usr/bin/b", "b", "/usr/lib/shared", "same",
		"/usr/lib/extension-release.d/extension-release.oem-azure", release)
	at := slices.IndexFunc(want, func(e tree.Entry) bool { return strings.Contains(e.Path, "extension-release.oem-azure") })
	want[at].Xattrs = map[string][]byte{"user.extension-release.strict": []byte("0")}
	if diff := cmp.Diff(want.Listing(), got.Tree.Listing()); diff != "" {
		t.Error(diff)
	}
	if len(got.Dropped) != 1 || got.Dropped[0].Path != "/usr/lib/libc.so" {
		t.Errorf("dropped %v", got.Dropped)
	}
}

// TestWithRelease replaces what an image said before.
func TestWithRelease(t *testing.T) {
	kept := map[digest.SHA256]string{}
	keep := func(content string) (digest.SHA256, error) {
		d := digest.Of([]byte(content))
		kept[d] = content
		return d, nil
	}
	base := &target.Base{ID: "flatcar", VersionID: "1.2.3", Arch: arch.AMD64}
	before, err := WithRelease(nil, Release{Image: "oem-x"}, base, keep)
	if err != nil {
		t.Fatal(err)
	}
	after, err := WithRelease(before, Release{Image: "oem-x", Scope: "initrd system"}, base, keep)
	if err != nil {
		t.Fatal(err)
	}
	e, _ := after.Find("/usr/lib/extension-release.d/extension-release.oem-x")
	if got := kept[e.SHA256]; len(after) != len(before) || !strings.Contains(got, "\nSYSEXT_SCOPE=\"initrd system\"\n") {
		t.Errorf("%d and %d entries; %s", len(before), len(after), got)
	}
}

func TestReplaces(t *testing.T) {
	p := part("a", files("/usr/bin/sh", "my shell"))
	p.Recipe.Replaces = []recipe.Path{"/usr/bin/sh"}
	if _, err := stage(t, azure, p); err != nil {
		t.Error(err)
	}
}

func TestKeeps(t *testing.T) {
	p := part("a", files("/usr/bin/a", "a", "/usr/bin/sh", "my shell"))
	p.Recipe.Keeps = []recipe.Glob{"/usr/bin/{sh,other}"}
	got, err := stage(t, azure, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, has := got.Tree.Find("/usr/bin/sh"); has || len(got.Dropped) != 1 {
		t.Errorf("the base's shell is hidden; dropped %v", got.Dropped)
	}
}

func TestEveryProblemAtOnce(t *testing.T) {
	wanting := *azure
	wanting.ActiveUnits = []strictyaml.Text{{Value: "agent.service", Line: 7}}
	opaque := files("/usr/lib/hidden/x", "x")
	for i := range opaque {
		if opaque[i].Path == "/usr/lib/hidden" {
			opaque[i].Xattrs = map[string][]byte{"trusted.overlay.opaque": []byte("y")}
		}
	}
	found = []check.Problem{{Path: "/usr/bin/tool", Text: "needs libx"}}
	defer func() { found = nil }()
	rights := files("/usr/bin/sudo", "s", "/usr/bin/ping", "p", "/usr/lib/open/x", "o")
	for _, change := range []struct {
		path   string
		change func(*tree.Entry)
	}{
		{"/usr/bin/sudo", func(e *tree.Entry) { e.Mode = 0o4755 }},
		{"/usr/bin/ping", func(e *tree.Entry) { e.GID = 5; e.Xattrs = map[string][]byte{"security.capability": nil} }},
		{"/usr/lib/open", func(e *tree.Entry) { e.Mode = 0o1777 }},
	} {
		change.change(rights.At(change.path))
	}
	_, err := stage(t, &wanting,
		part("a", files("/usr/bin/tool", "one", "/usr/bin/sh", "my shell", "/etc/passwd", "x")),
		part("b", files("/usr/bin/tool", "two", "/usr/lib/os-release", "ID=x")),
		part("c", opaque),
		part("d", rights),
	)
	var problems *Problems
	if !errors.As(err, &problems) {
		t.Fatalf("error is %v", err)
	}
	for _, want := range []string{
		"/usr/bin/tool differs between recipes/a/recipe.yaml and recipes/b/recipe.yaml",
		"a has /usr/bin/sh, which differs from the base's",
		"/etc/passwd is outside /usr",
		"/usr/bin/tool needs libx (recipes/a/recipe.yaml)",
		`/usr/bin/sudo has mode 4755; if intended, declare special: {/usr/bin/sudo: {mode: "4755"}} in recipes/d/recipe.yaml`,
		"/usr/bin/ping has the owner 0:5; if intended, declare special: {/usr/bin/ping: {owner: USER:GROUP}} in",
		"/usr/bin/ping has capabilities; if intended, declare",
		"/usr/lib/open has mode 1777 and is world-writable",
		"/usr/lib/os-release makes systemd refuse",
		"/usr/lib/hidden has the xattr trusted.overlay.opaque",
		"platforms/azure.yaml:7: no unit agent.service",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no problem %q in %v", want, err)
		}
	}
}

func TestSpecial(t *testing.T) {
	dir := t.TempDir()
	defer func(before string) { base.Dir = before }(base.Dir)
	base.Dir = dir
	for name, content := range map[string]string{
		"share/flatcar/etc/group": "root:x:0:\ndisk:x:6:\n", "lib/sysusers.d/a.conf": "u late - \"Chosen at boot\"\nu core 500\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := part("a", files("/usr/bin/mount", "m", "/usr/bin/ping", "p", "/usr/share/secret", "s"))
	p.Tree.At("/usr/bin/mount").Mode = 0o4755
	p.Recipe.Special = map[string]recipe.Special{
		"/usr/bin/mount":    {Mode: 0o4711},
		"/usr/bin/ping":     {Capabilities: []recipe.Capability{13, 38}},
		"/usr/share/secret": {Mode: 0o640, Owner: recipe.Owner{User: "core", Group: "disk"}},
	}
	before := p.Tree.Listing()
	staged, err := stage(t, azure, p)
	if err != nil {
		t.Fatal(err)
	}
	mount, _ := staged.Tree.Find("/usr/bin/mount")
	ping, _ := staged.Tree.Find("/usr/bin/ping")
	secret, _ := staged.Tree.Find("/usr/share/secret")
	// As setcap cap_net_raw,cap_perfmon=ep writes it.
	want := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00"
	if mount.Mode != 0o4711 || string(ping.Xattrs["security.capability"]) != want || secret.Mode != 0o640 || secret.UID != 500 || secret.GID != 6 {
		t.Errorf("staged %v | %v | %v", mount, ping, secret)
	}
	if p.Tree.Listing() != before {
		t.Error("the recipe's own tree changed")
	}

	p.Recipe.Special = map[string]recipe.Special{
		"/usr/bin/gone":     {Mode: 0o4755},
		"/usr/bin/mount":    {Owner: recipe.Owner{User: "late", Group: "root"}},
		"/usr/bin/ping":     {Owner: recipe.Owner{User: "root", Group: "wheel"}},
		"/usr/share/secret": {Owner: recipe.Owner{User: "nobody", Group: "root"}},
	}
	_, err = stage(t, azure, p)
	for _, want := range []string{
		"special: /usr/bin/gone: no such file", `the id of the user "late" is chosen at boot`,
		`the base has no group "wheel"`, `the base has no user "nobody"`, "/usr/bin/mount has mode 4755; if intended, declare special",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no problem %q in %v", want, err)
		}
	}
}

func TestQuote(t *testing.T) {
	for value, want := range map[string]string{"1.2.3": "1.2.3", "a b": `"a b"`, `a"$b`: `"a\"\$b"`, "`x`\\": "\"\\`x\\`\\\\\""} {
		if got := quote(value); got != want {
			t.Errorf("quote(%q) = %s; want %s", value, got, want)
		}
	}
}

// TestCommandsThatFail names the file and line of each, those of recipes and the platform's own.
func TestCommandsThatFail(t *testing.T) {
	p := *azure
	r := part("a", files("/usr/bin/a", "a"))
	r.Recipe.Works = []recipe.Command{{Line: 7, Run: "a -v"}, {Line: 8, Run: "a -h", Says: "Usage"}}
	p.Recipes, p.Works = []*recipe.Recipe{r.Recipe}, []recipe.Command{{Line: 9, Run: "a -x"}}
	failing = map[string]string{"a -h": "it ends with status 1", "a -x": "its output lacks it"}
	defer func() { failing = nil }()
	_, err := stage(t, &p, r)
	const want = "platform azure:\n" +
		`  recipes/a/recipe.yaml:8: works: "a -h" does not work in the merged system: it ends with status 1; add what it needs, or correct the command` + "\n" +
		`  platforms/azure.yaml:9: works: "a -x" does not work in the merged system: its output lacks it; add what it needs, or correct the command`
	if err == nil || err.Error() != want {
		t.Errorf("error is %v", err)
	}
	if p.ForInitrd() != nil {
		t.Error("it has an image for an initramfs")
	}
	p.Initrd = &platform.Initrd{}
	if own := p.ForInitrd().Commands(); len(own) != 0 {
		t.Errorf("an image of no recipe has commands: %v", own)
	}
}

// TestReadAgain has files read again that are there too late, in images that have such files and the unit for it.
func TestReadAgain(t *testing.T) {
	const setup, dropIn = "/usr/lib/systemd/system/oem-setup.service", "/usr/lib/systemd/system/oem-setup.service.d/20-oem-azure.conf"
	const network, sysctl = "/usr/lib/systemd/network/01-x.network", "/usr/lib/sysctl.d/x.conf"
	for _, c := range []struct {
		files []string
		want  string
	}{
		{[]string{setup, "", network, "", sysctl, ""}, "[Service]\nExecStartPost=-/usr/bin/networkctl reload\nExecStartPost=-/usr/lib/systemd/systemd-sysctl\n"},
		{[]string{setup, "", network, "", "/usr/lib/systemd/network/02-y.network", ""}, "[Service]\nExecStartPost=-/usr/bin/networkctl reload\n"},
		{[]string{setup, "", "/usr/bin/a", ""}, ""},
		{[]string{network, ""}, ""},
	} {
		got, err := stage(t, azure, part("a", files(c.files...)))
		if err != nil {
			t.Fatal(err)
		}
		e, has := got.Tree.Find(dropIn)
		if has != (c.want != "") || has && e.SHA256 != digest.Of([]byte(c.want)) {
			t.Errorf("%v: %v; wanted %q", c.files, e, c.want)
		}
		if err := got.Tree.HasParents(); err != nil {
			t.Error(err)
		}
	}
}

// TestSameToolsAreCheckedAsOneTree says that what is checked follows from the files alone: the findings are kept by it.
func TestSameToolsAreCheckedAsOneTree(t *testing.T) {
	checked = nil
	other := *azure
	other.ID, other.Name = strictyaml.Text{Value: "other"}, "Another one"
	tools := part("a", files("/usr/lib/systemd/system/oem-setup.service", "", "/usr/lib/sysctl.d/x.conf", ""))
	for _, p := range []*platform.Platform{azure, &other} {
		if _, err := stage(t, p, tools); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(checked[0].Listing(), checked[1].Listing()); diff != "" {
		t.Errorf("what is checked depends on the platform: %s", diff)
	}
	if len(check.ReadAgain(checked[0])) == 0 || len(checked[0].Under("/usr/lib/systemd/system/oem-setup.service.d")) != 1 {
		t.Errorf("what is checked lacks what has files read again: %s", checked[0].Listing())
	}
}

// TestIndexesOfModules puts what the check makes into the image, in place of the base's.
func TestIndexesOfModules(t *testing.T) {
	indexes = files("/usr/lib/modules/6/modules.dep", "extra/own.ko:")
	defer func() { indexes = nil }()
	got, err := stage(t, azure, part("a", files("/usr/lib/modules/6/extra/own.ko", "module")))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/usr/lib/modules/6/modules.dep", "/usr/lib/modules/6/extra/own.ko"} {
		if _, has := got.Tree.Find(name); !has {
			t.Errorf("no %s", name)
		}
	}
}
