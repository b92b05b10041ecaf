package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/oem/image/rung"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

var update = flag.Bool("update", false, "write golden files instead of comparing with them")

// hostile is a name that a package may have.
const hostile = "/usr/share/x/<script>alert(1)</script>|`b`\n# \"&'.txt"

// releases returns two releases of three platforms. In the second, a tool was updated and two clouds share Python.
func releases() (last, this *manifest.Manifest) {
	xz := rung.Rung{Filesystem: rung.SquashFS, Compressor: "xz", Block: size.MiB, Filter: "x86"}
	zstd := rung.Rung{Filesystem: rung.SquashFS, Compressor: "zstd", Level: 15, Block: 128 * size.KiB}
	agent := func(version string, n int64) manifest.Content { return file("/usr/bin/agent", version, "agent", n) }
	python := file("/usr/lib/python3/libpython3.so", "3.13", "python3", 7<<20)
	cloud := func(n int64) manifest.Content {
		return file("/usr/lib/python3/dist-packages/cloud/main.py", fmt.Sprint(n), "cloud", n)
	}
	link := manifest.Content{Path: "/usr/bin/cloud", Target: "../lib/python3/dist-packages/cloud/main.py", Recipe: "cloud"}

	last = release0("4230.2.1", 1762000000,
		imageOfFiles("oem-alpha", zstd, 3*size.MiB, []string{"alpha"}, agent("1.4", 3<<20), python),
		imageOfFiles("oem-beta", xz, 3*size.MiB, []string{"beta"}, cloud(90000), link, python),
		imageOfFiles("oem-gamma", rung.Rung{Filesystem: rung.EROFS}, 12*size.KiB, []string{"gamma"}, file("/usr/lib/udev/rules.d/80-gamma.rules", "1", "gamma", 900)),
	)
	last.Platforms = []manifest.Platform{
		platformOf("alpha", "Alpha Cloud", 4200, last.Images[0]),
		platformOf("beta", "Beta|Cloud", 61000, last.Images[1]),
		platformOf("gamma", "Gamma", 120, last.Images[2]),
	}
	last.Recipes = []manifest.Recipe{
		{Name: "agent", Inputs: []input.Input{inputOf("go", "example.org/agent", "v1.4.0"), inputOf("file", "agent/files/agent.service", "")}},
		{Name: "cloud", Inputs: []input.Input{inputOf("deb", "cloud-tools", "2.0-1")}},
		{Name: "gamma", Inputs: []input.Input{inputOf("deb", "gamma-udev", "1-1")}},
	}

	this = release0("4230.2.2", 1763209600,
		imageOfFiles("oem-alpha", xz, 1200*size.KiB, []string{"alpha"}, agent("1.5", 4<<20), file(hostile, "evil", "agent", 333)),
		imageOfFiles("oem-beta", zstd, 40*size.KiB, []string{"beta"}, cloud(81000), link),
		imageOfFiles("oem-shared-5d1f", xz, 2*size.MiB, []string{"alpha", "beta"}, python),
	)
	this.Platforms = []manifest.Platform{
		platformOf("alpha", "Alpha Cloud", 73000, this.Images[0], this.Images[2]),
		platformOf("beta", "Beta|Cloud", 61000, this.Images[1], this.Images[2]),
	}
	this.Payloads = []manifest.Payload{{File: "oem-alpha.gz", Platform: "alpha"}}
	this.Add(manifest.File{Name: "oem-alpha.gz", Size: 3100 * size.KiB})
	this.Recipes = []manifest.Recipe{
		{Name: "agent", Inputs: []input.Input{inputOf("go", "example.org/agent", "v1.5.0"), {Kind: "file", Name: "agent/files/agent.service", Digest: "sha256:" + digest.Of([]byte("other")).String()}}},
		{Name: "cloud", Inputs: []input.Input{inputOf("deb", "cloud-tools", "2.1-1"), inputOf("deb", "python3", "3.13.5-1")}},
	}
	this.Tools["squashfs-tools"] = "1:4.7.2-1"
	for n, m := range []*manifest.Manifest{last, this} { // what systemd matches with the OS
		for i := range m.Images {
			m.Images[i].Contents = append(m.Images[i].Contents, stampOf(m.Images[i].Name, fmt.Sprint(n)))
		}
	}
	last.Images = append(last.Images, imageOfFiles("oem-same", zstd, size.MiB, []string{"alpha"}, stampOf("oem-same", "1"), python))
	this.Images = append(this.Images, imageOfFiles("oem-same", zstd, size.MiB, []string{"alpha"}, stampOf("oem-same", "2"), python))
	this.Images[3].SHA256 = digest.Of([]byte("stamped"))
	this.Platforms[0].Recipes, this.Platforms[1].Recipes = []string{"agent"}, []string{"cloud"}
	this.Platforms[0].Missing = map[string]string{"other-agent": "not to be had <b>"}
	this.Platforms[1].Missing = map[string]string{"other-agent": "not to be had <b>", "helper": "closed"}
	this.Source = &manifest.Source{Commit: "3de0e9d", Dirty: true}
	this.DevelopmentKeys = []string{manifest.PayloadsSigned}
	this.Plan.Budgets = append(this.Plan.Budgets, budget.Budget{Name: "images", Limit: 4 * size.MiB, Used: 3 * size.MiB})
	this.Plan.Least, last.Plan.Least = 2*size.MiB, 2500*size.KiB
	return last, this
}

func stampOf(image, version string) manifest.Content {
	return file("/usr/lib/extension-release.d/extension-release."+image, version, "", 60)
}

func release0(version string, epoch int64, images ...manifest.Image) *manifest.Manifest {
	m := &manifest.Manifest{
		Schema: manifest.Schema, Version: version, Arch: "amd64", Epoch: epoch,
		Base:   manifest.Base{ID: "trixie", VersionID: "9999.0.0", Usr: digest.Of([]byte("usr"))},
		Tools:  map[string]string{"squashfs-tools": "1:4.6.1-1"},
		Go:     "go version go1.26.0 linux/amd64",
		Images: images,
		Partition: manifest.Partition{
			File: "usr.bin", Filesystem: 1065345024, FreeBefore: 800 * size.MiB, RootHash: digest.Of([]byte(version)),
		},
	}
	m.Partition.FreeAfter = m.Partition.FreeBefore - embeddedCost(m) - 64*size.KiB
	fixed := m.Partition.Filesystem - m.Partition.FreeBefore
	m.Plan = manifest.Plan{Profile: "flatcar", Budgets: []budget.Budget{
		{Name: "usr", Limit: m.Partition.Filesystem - 64*size.MiB, Used: fixed + embeddedCost(m), Fixed: fixed},
		{Name: "initramfs", Limit: 60_000_000, Used: 61_000_000, Fixed: 26_000_000},
	}}
	for _, i := range images {
		m.Files = append(m.Files, manifest.File{Name: i.File, Size: i.Size, SHA256: i.SHA256})
	}
	m.Files = append(m.Files, manifest.File{Name: "usr.bin", Size: size.GiB, SHA256: digest.Of([]byte("bin" + version))})
	return m
}

func file(path, version, recipe string, n int64) manifest.Content {
	return manifest.Content{Path: path, Size: n, SHA256: digest.Of([]byte(path + version)), Recipe: recipe}
}

func inputOf(kind, name, version string) input.Input {
	return input.Input{Kind: kind, Name: name, Version: version, Digest: "sha256:" + digest.Of([]byte(name+version)).String()}
}

func imageOfFiles(name string, rung rung.Rung, packed size.Bytes, platforms []string, contents ...manifest.Content) manifest.Image {
	i := manifest.Image{
		Name: name, Platforms: platforms, File: name + ".raw", Embedded: "share/flatcar/oem-sysext/" + name + ".raw",
		Size: packed, SHA256: digest.Of(fmt.Append(nil, name, packed)), Rung: rung, Cost: packed + 4*size.KiB, Read: int64(packed / 20), Contents: contents,
	}
	for _, c := range contents {
		i.Unpacked += size.Bytes(c.Size)
	}
	return i
}

func platformOf(id, name string, read int64, images ...manifest.Image) manifest.Platform {
	p := manifest.Platform{ID: id, Name: name, KernelID: id, Placement: budget.InUsr, Read: read}
	for _, i := range images {
		p.Activates = append(p.Activates, i.Name)
		p.Files += len(i.Contents)
		p.Unpacked += i.Unpacked
	}
	return p
}

// earlier is a history of one release.
func earlier(m *manifest.Manifest) []*manifest.Manifest { return []*manifest.Manifest{m} }

func TestMarkdown(t *testing.T) {
	last, this := releases()
	for name, previous := range map[string][]*manifest.Manifest{"first.md": nil, "next.md": earlier(last), "same.md": earlier(this)} {
		var got bytes.Buffer
		if err := Markdown(&got, this, previous); err != nil {
			t.Fatal(err)
		}
		golden(t, name, got.Bytes())
	}
}

func TestDiff(t *testing.T) {
	last, this := releases()
	for name, older := range map[string]*manifest.Manifest{"diff.md": last, "nodiff.md": this} {
		var out bytes.Buffer
		if err := Diff(&out, this, older); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.Bytes())
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); run with -update if that is right:\n%s", name, diff)
	}
}

func TestMarkdownNames(t *testing.T) {
	for name, want := range map[string]string{
		"a":       "`a`",
		"":        "`  `",
		"a|b":     "`a\\|b`",
		"a`b":     "``a`b``",
		"``a":     "``` ``a ```",
		"a\nb":    "`a\\nb`",
		"\u202ea": "`\\u202ea`", // turns the direction of writing
	} {
		if got := foreign.Code(name); got != want {
			t.Errorf("foreign.Code(%q) = %q; want %q", name, got, want)
		}
	}
	if got, want := foreign.Markdown("a|b *c* <d> @e"), `a\|b \*c\* \<d\> \@e`; got != want {
		t.Errorf("Markdown gives %q; want %q", got, want)
	}
}

func TestRefusals(t *testing.T) {
	last, this := releases()
	last.Arch = "arm64"
	wantError(t, this, earlier(last), "is for arm64; wanted releases for amd64 only")
	last, this = releases()
	this.Platforms[0].Activates = []string{"oem-gone"}
	wantError(t, this, earlier(last), `platform "alpha" activates "oem-gone", which is none of its images`)
}

func wantError(t *testing.T, m *manifest.Manifest, previous []*manifest.Manifest, text string) {
	t.Helper()
	for name, write := range map[string]func(io.Writer, *manifest.Manifest, []*manifest.Manifest) error{"HTML": HTML, "Markdown": Markdown} {
		var out bytes.Buffer
		if err := write(&out, m, previous); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: error is %v; want %q", name, err, text)
		}
		if out.Len() > 0 {
			t.Errorf("%s wrote %d bytes before it failed", name, out.Len())
		}
	}
}

// render returns a page, and proves that it does not depend on chance.
func render(t *testing.T, m *manifest.Manifest, previous []*manifest.Manifest) []byte {
	t.Helper()
	var pages [2]bytes.Buffer
	for i := range pages {
		if err := HTML(&pages[i], m, previous); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(pages[0].Bytes(), pages[1].Bytes()) {
		t.Fatal("the same manifests gave different pages")
	}
	return pages[0].Bytes()
}

// elements returns all elements of a page with a name.
func elements(t *testing.T, page []byte, name string) []*html.Node {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var found []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && (name == "*" || n.Data == name) {
			found = append(found, n)
		}
	}
	return found
}

func attribute(n *html.Node, key string) string {
	at := slices.IndexFunc(n.Attr, func(a html.Attribute) bool { return a.Key == key })
	if at < 0 {
		return ""
	}
	return n.Attr[at].Val
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

func TestPageRunsOnlyWhatIsOurs(t *testing.T) {
	last, this := releases()
	page := render(t, this, earlier(last))
	policy := attribute(elements(t, page, "meta")[1], "content")
	scripts := elements(t, page, "script")
	if len(scripts) != 2 || attribute(scripts[0], "type") != "application/json" {
		t.Fatalf("the page has %d scripts; want the data and ours", len(scripts))
	}
	for directive, element := range map[string]*html.Node{"script-src": scripts[1], "style-src": elements(t, page, "style")[0]} {
		sum := sha256.Sum256([]byte(text(element)))
		want := fmt.Sprintf("%s 'sha256-%s'", directive, base64.StdEncoding.EncodeToString(sum[:]))
		if !strings.Contains(policy, want) {
			t.Errorf("policy is %q; want %q in it", policy, want)
		}
	}
	for _, e := range elements(t, page, "*") {
		for _, a := range e.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "href" && !strings.HasPrefix(a.Val, "#") {
				t.Errorf("<%s> has %s=%q", e.Data, a.Key, a.Val)
			}
		}
	}
}

func TestPageShowsHostileNames(t *testing.T) {
	last, this := releases()
	var named []string
	for _, e := range elements(t, render(t, this, earlier(last)), "code") {
		named = append(named, text(e))
	}
	if !slices.Contains(named, hostile) {
		t.Errorf("%q is not shown as it is", hostile)
	}
}

func TestLinksLead(t *testing.T) {
	last, this := releases()
	this.Files = append(this.Files, manifest.File{Name: "copy.raw", SHA256: this.Files[0].SHA256})
	page := render(t, this, earlier(last))
	seen := map[string]bool{}
	for _, e := range elements(t, page, "*") {
		if id := attribute(e, "id"); id != "" {
			if seen[id] {
				t.Errorf("two elements have the id %q", id)
			}
			seen[id] = true
		}
	}
	links := 0
	for _, a := range elements(t, page, "a") {
		links++
		if to := strings.TrimPrefix(attribute(a, "href"), "#"); !seen[to] {
			t.Errorf("link to %q leads nowhere", to)
		}
	}
	if links < 8+2*len(this.Images) {
		t.Errorf("only %d links", links)
	}
	for _, f := range this.Files {
		if !seen["sha256-"+f.SHA256.String()] {
			t.Errorf("no anchor for %s", f.Name)
		}
	}
}

func TestLargeReleaseStaysSmall(t *testing.T) {
	_, this := releases()
	this.Images, this.Platforms, this.Files = nil, nil, nil
	for p := range 21 {
		var contents []manifest.Content
		for i := range 100 {
			contents = append(contents, file(fmt.Sprintf("/usr/lib/python3/dist-packages/module%d/file%d.cpython-313-x86_64-linux-gnu.so", i%9, i), fmt.Sprint(p), "cloud", int64(1000*i)))
		}
		id := fmt.Sprintf("cloud%d", p)
		this.Images = append(this.Images, imageOfFiles("oem-"+id, rung.Rung{Filesystem: rung.EROFS}, size.MiB, []string{id}, contents...))
		this.Platforms = append(this.Platforms, platformOf(id, id, 5, this.Images[p]))
	}
	last, _ := releases()
	if n := len(render(t, this, earlier(last))); n > 600_000 {
		t.Errorf("21 platforms with 2100 files give a page of %d bytes", n)
	}
}

func TestWithoutImages(t *testing.T) {
	empty := &manifest.Manifest{Version: "1", Arch: "amd64"}
	render(t, empty, nil)
	render(t, empty, earlier(empty))
	_, this := releases()
	render(t, this, earlier(empty))
	render(t, empty, earlier(this))
}
