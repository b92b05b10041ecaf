package build

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/source/binpkg"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/target"

	"aead.dev/minisign"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
)

// mirror serves files by path.
type mirror struct {
	address string
	mu      sync.Mutex
	files   map[string][]byte
	answer  map[string]http.HandlerFunc // instead of a file
}

func newMirror(t *testing.T) *mirror {
	t.Helper()
	m := &mirror{files: map[string][]byte{}, answer: map[string]http.HandlerFunc{}}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	m.address = server.URL
	return m
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	content, there := m.files[r.URL.Path]
	switch answer := m.answer[r.URL.Path]; {
	case answer != nil:
		answer(w, r)
	case there:
		_, _ = w.Write(content)
	default:
		http.NotFound(w, r)
	}
}

// over returns the checkout's builder and recipe, with everything fetched from the mirror.
func (m *mirror) over(t *testing.T, dir string) (*Builder, *bytes.Buffer) {
	t.Helper()
	b, _ := builder(t, dir)
	var log bytes.Buffer
	b.Log = slog.New(slog.NewTextHandler(&log, nil))
	b.Store = fetch.New(t.TempDir(), b.Log, nil)
	b.Binpkgs = m.address + "/flatcar"
	b.Base.Name = "trixie"
	var err error
	b.GitHub, err = github.New(func(name string) string {
		return map[string]string{github.EnvAPI: m.address + "/api", github.EnvServer: m.address + "/hub", github.EnvToken: "hunter2"}[name]
	}, b.Log)
	if err != nil {
		t.Fatal(err)
	}
	return b, &log
}

// lockAll writes the recipe's lock file as "mage recipe:lock" does.
func lockAll(t *testing.T, b *Builder) {
	t.Helper()
	r := load(t, b.Checkout)
	var l lock.Lock
	for _, source := range r.For(b.On()).Sources {
		pins, err := b.Look(t.Context(), r, source, arch.AMD64)
		if err != nil {
			t.Fatal(err)
		}
		base := ""
		if source.DependsOnBase(false) {
			base = b.Base.Name
		}
		l.Set(source.Question(false), base, arch.AMD64, pins)
	}
	content, err := l.Encode("tool")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(content), "hunter2") {
		t.Errorf("a lock file has a secret:\n%s", content)
	}
	write(t, filepath.Join(b.Checkout, "recipes/tool/recipe.lock"), string(content))
}

func files(t *testing.T, b *Builder) (string, error) {
	t.Helper()
	built, err := made(t, b, load(t, b.Checkout), arch.AMD64)
	var names []string
	for _, e := range built {
		if e.Type != "d" {
			names = append(names, fmt.Sprintf("%s %o", e.Path, e.Mode))
		}
	}
	return strings.Join(names, ", "), err
}

func tgz(t *testing.T, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	packed := gzip.NewWriter(&out)
	w := tar.NewWriter(packed)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: 1, Uid: os.Getuid(), Gid: os.Getgid()}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zipOf(t *testing.T, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range names {
		if _, err := w.Create(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// debOf makes a package with the real program.
func debOf(t *testing.T, name, version string) []byte {
	t.Helper()
	needs.Programs(t, "dpkg-deb")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "root/DEBIAN/control"), "Package: "+name+"\nVersion: "+version+"\nArchitecture: amd64\nMaintainer: M <m@example.org>\nDescription: d\n")
	write(t, filepath.Join(dir, "root/usr/bin", name), version)
	if err := os.Chmod(filepath.Join(dir, "root/DEBIAN"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := run.Run(t.Context(), run.Cmd{
		Program: "dpkg-deb", Args: []string{"--build", "--root-owner-group", "root", "out.deb"}, Dir: dir, Env: run.HostEnv("PATH"),
	})
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "out.deb"))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func gz(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

const urlRecipe = "sources: [{url: {address: 'MIRROR/tool-{version}-{arch}', arch_names: {amd64: x86_64}, version: 1.0, sha256: {all: SHA256}%s}}]\n"

func urlSource(m *mirror, content []byte, more string) string {
	definition := fmt.Sprintf(urlRecipe, more)
	return strings.NewReplacer("MIRROR", m.address, "SHA256", digest.Of(content).String()).Replace(definition)
}

func TestURL(t *testing.T) {
	for name, test := range map[string]struct {
		content []byte
		more    string
		want    string
	}{
		"as it is":    {tgz(t, "usr/bin/tool", "etc/conf"), "", "/usr/bin/tool 755"},
		"laid out":    {tgz(t, "tool-1.0/bin/tool", "tool-1.0/bin/more/x", "tool-1.0/lib/lib", "top"), ", unpack: {strip: 1, include: [/bin], to: /usr}", "/usr/bin/more/x 755, /usr/bin/tool 755"},
		"one pattern": {tgz(t, "a/x.conf", "a/b/y.conf", "z"), ", unpack: {include: ['/**/*.conf'], to: /usr/lib/tool}", "/usr/lib/tool/a/b/y.conf 755, /usr/lib/tool/a/x.conf 755"},
		"moved":       {tgz(t, "etc/tool/conf"), "}}]\nmove: {/etc/tool: /usr/share/tool}\nprune: [{", "/usr/share/tool/conf 755"},
		"zip":         {zipOf(t, "tool/bin/tool"), ", unpack: {strip: 1, to: /usr}", "/usr/bin/tool 644"},
		"deb":         {debOf(t, "tool", "1.0"), "", "/usr/bin/tool 644"},
		"program":     {[]byte("#!/bin/sh\n"), ", unpack: {program: /usr/bin/tool}", "/usr/bin/tool 755"},
		"packed":      {gz(t, "#!/bin/sh\n"), ", unpack: {program: /usr/bin/tool}", "/usr/bin/tool 755"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirror(t)
			m.files["/tool-1.0-x86_64"] = test.content
			definition := urlSource(m, test.content, test.more)
			definition = strings.Replace(definition, "prune: [{}}]", "prune: []", 1)
			b, _ := m.over(t, checkout(t, definition))
			got, err := files(t, b)
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
}

// A version is changed and its digest forgotten: the file of the old version is in the store, and not at the new address.
func TestURLWithAForgottenDigest(t *testing.T) {
	m := newMirror(t)
	old, next := tgz(t, "usr/bin/tool"), tgz(t, "usr/bin/tool", "usr/bin/more")
	m.files["/tool-1.0-x86_64"], m.files["/tool-1.1-x86_64"] = old, next
	b, _ := m.over(t, checkout(t, urlSource(m, old, "")))
	if _, err := files(t, b); err != nil {
		t.Fatal(err)
	}
	bumped, _ := m.over(t, checkout(t, strings.Replace(urlSource(m, old, ""), "version: 1.0", "version: 1.1", 1)))
	bumped.Store, bumped.Results = b.Store, b.Results
	if _, err := files(t, bumped); err == nil || !strings.Contains(err.Error(), "wrong content") || !strings.Contains(err.Error(), digest.Of(next).String()) {
		t.Errorf("error is %v; wanted the digest of the new file", err)
	}
}

func TestURLRefuses(t *testing.T) {
	good := tgz(t, "usr/bin/tool")
	serve := func(content []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }
	}
	for name, test := range map[string]struct {
		content []byte // whose digest the recipe has
		answer  http.HandlerFunc
		says    string
	}{
		"missing":    {good, http.NotFound, "HTTP status 404 Not Found"},
		"altered":    {good, serve(append(good[:len(good)-1:len(good)-1], 'x')), "wrong content"},
		"cut":        {good, serve(good[:len(good)-9]), "wrong content"},
		"not at all": {[]byte("text"), serve([]byte("text")), "for a file that is one program"},
		"dot dot":    {tgz(t, "usr/../../x"), serve(tgz(t, "usr/../../x")), `tool-1.0-x86_64: entry "usr/../../x": the name has ".."`},
		"elsewhere":  {tgz(t, "tool-1.0/tool"), serve(tgz(t, "tool-1.0/tool")), "nothing in the archive is below /usr"},
		"sent to a file": {good, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, "redirects to a file address"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirror(t)
			m.answer["/tool-1.0-x86_64"] = test.answer
			b, _ := m.over(t, checkout(t, urlSource(m, test.content, "")))
			if _, err := files(t, b); err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "tool") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestURLFromMirror(t *testing.T) {
	content := tgz(t, "usr/bin/tool")
	m := newMirror(t)
	m.answer["/old/1.0"] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/new", http.StatusFound) }
	m.files["/new"] = content
	b, _ := m.over(t, checkout(t, urlSource(m, content, ", mirrors: ['"+m.address+"/gone', '"+m.address+"/old/{version}']")))
	if got, err := files(t, b); got != "/usr/bin/tool 755" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
}

// TestLockedURL changes the digest in a recipe after it was locked.
func TestLockedURL(t *testing.T) {
	old, now := tgz(t, "usr/bin/old"), tgz(t, "usr/bin/new")
	m := newMirror(t)
	m.files["/tool-1.0-x86_64"] = old
	b, log := m.over(t, checkout(t, urlSource(m, old, "")))
	lockAll(t, b)
	b.Locked = true
	if got, err := files(t, b); got != "/usr/bin/old 755" || err != nil {
		t.Errorf("as locked: %s, %v", got, err)
	}
	definition := filepath.Join(b.Checkout, "recipes/tool/recipe.yaml")
	content, err := os.ReadFile(definition)
	if err != nil {
		t.Fatal(err)
	}
	write(t, definition, strings.Replace(string(content), digest.Of(old).String(), digest.Of(now).String(), 1))
	m.files["/tool-1.0-x86_64"] = now
	if _, err := files(t, b); err == nil || !strings.Contains(err.Error(), "scripts/mage recipe:lock tool") {
		t.Errorf("with LOCKED=1: %v", err)
	}
	b.Locked = false
	if got, err := files(t, b); got != "/usr/bin/new 755" || err != nil || !strings.Contains(log.String(), "the lock file is stale") {
		t.Errorf("by default: %s, %v\n%s", got, err, log)
	}
}

// minisigned returns a new key as a recipe has it, and a signature by it, as recipes and servers have them.
func minisigned(t *testing.T, content []byte) (key string, signature []byte) {
	t.Helper()
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := public.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	reader := minisign.NewReader(bytes.NewReader(content))
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(text))
	return words[len(words)-1], reader.Sign(private)
}

func newKey(t *testing.T) (key *openpgp.Entity, public string) {
	t.Helper()
	key, err := openpgp.NewEntity("Upstream", "", "upstream@example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err == nil {
		err = key.Serialize(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return key, out.String()
}

func TestSignatures(t *testing.T) {
	content := tgz(t, "usr/bin/tool")
	key, signature := minisigned(t, content)
	_, other := minisigned(t, content)
	pgp, public := newKey(t)
	var detached bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&detached, pgp, bytes.NewReader(content), nil); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		keys      string
		signature []byte
		says      string // nothing: it is good
	}{
		"minisign":          {"minisign: " + key, signature, ""},
		"by another key":    {"minisign: " + key, other, "signed by key"},
		"no signature":      {"minisign: " + key, nil, "signature of tool-1.0-x86_64: "},
		"OpenPGP":           {"openpgp: keys/upstream.asc", detached.Bytes(), ""},
		"of another kind":   {"openpgp: keys/upstream.asc", signature, "signature"},
		"OpenPGP, cut away": {"openpgp: keys/upstream.asc", detached.Bytes()[:60], "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirror(t)
			m.files["/tool-1.0-x86_64"] = content
			if test.signature != nil {
				m.files["/tool-1.0-x86_64.sig"] = test.signature
			}
			definition := urlSource(m, content, ", signature: {suffix: .sig, "+test.keys+"}")
			b, _ := m.over(t, checkout(t, definition, "keys/upstream.asc", public))
			r := load(t, b.Checkout)
			resolved, err := b.Resolve(t.Context(), r, arch.AMD64)
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("error is %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			inputs := resolved.Inputs()
			if len(inputs) != 2 || inputs[1].Kind != "url" || inputs[1].Digest != "sha256:"+digest.Of(test.signature).String() {
				t.Errorf("inputs are %v", inputs)
			}
			if got, err := files(t, b); got != "/usr/bin/tool 755" || err != nil {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}

func TestGitHub(t *testing.T) {
	m := newMirror(t)
	asset := tgz(t, "tool")
	m.files["/hub/owner/tool/releases/download/v1.0/tool_1.0_amd64.tar.gz"] = asset
	m.files["/api/repos/owner/tool/releases/tags/v1.0"] = fmt.Appendf(nil, `{"assets": [{"name": "tool_1.0_amd64.tar.gz", "size": %d,
		"browser_download_url": "%s/hub/owner/tool/releases/download/v1.0/tool_1.0_amd64.tar.gz"}]}`, len(asset), m.address)
	b, log := m.over(t, checkout(t, "sources: [{github: {repository: owner/tool, tag: v1.0, asset: 'tool_{version}_{arch}.*', unpack: {to: /usr/bin}}}]\n"))
	const command = "scripts/mage recipe:lock tool"
	if _, err := b.Resolve(t.Context(), load(t, b.Checkout), arch.AMD64); err == nil || !strings.Contains(err.Error(), command) {
		t.Errorf("without a lock file: %v", err)
	}
	lockAll(t, b)
	b.Locked = true
	if got, err := files(t, b); got != "/usr/bin/tool 755" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	resolved, err := b.Resolve(t.Context(), load(t, b.Checkout), arch.AMD64)
	want := []input.Input{{Kind: "github", Name: "tool_1.0_amd64.tar.gz", Version: "v1.0", Digest: "sha256:" + digest.Of(asset).String()}}
	if err != nil || !cmp.Equal(want, resolved.Inputs()) {
		t.Errorf("%v, %v", resolved, err)
	}
	if _, err := b.Resolve(t.Context(), load(t, b.Checkout), arch.ARM64); err == nil || !strings.Contains(err.Error(), "on arm64") {
		t.Errorf("for what is not locked: %v", err)
	}

	// An asset that was replaced upstream is noticed.
	m.files["/hub/owner/tool/releases/download/v1.0/tool_1.0_amd64.tar.gz"] = append(bytes.Clone(asset[:len(asset)-1]), 'x')
	again, _ := m.over(t, b.Checkout)
	if _, err := files(t, again); err == nil || !strings.Contains(err.Error(), "wrong content") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error is %v", err)
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("the token is in the log: %s", log)
	}
}

// binpkgOf makes a Gentoo binary package.
func binpkgOf(t *testing.T, category, pf string, names ...string) []byte {
	t.Helper()
	needs.Programs(t, "bzip2")
	unzipped, err := gzip.NewReader(bytes.NewReader(tgz(t, names...)))
	if err != nil {
		t.Fatal(err)
	}
	packed, err := run.Output(t.Context(), run.Cmd{Program: "bzip2", Args: []string{"-c"}, Env: run.HostEnv("PATH"), Stdin: unzipped})
	if err != nil {
		t.Fatal(err)
	}
	var index, data []byte
	for _, entry := range [][2]string{{"CATEGORY", category}, {"PF", pf}, {"CHOST", "x86_64-cros-linux-gnu"}} {
		index = append(binary.BigEndian.AppendUint32(index, uint32(len(entry[0]))), entry[0]...)
		index = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(index, uint32(len(data))), uint32(len(entry[1])+1))
		data = append(data, entry[1]+"\n"...)
	}
	segment := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte("XPAKPACK"), uint32(len(index))), uint32(len(data)))
	segment = append(slices.Concat(segment, index, data), "XPAKSTOP"...)
	return append(binary.BigEndian.AppendUint32(append(packed, segment...), uint32(len(segment))), "STOP"...)
}

func TestBinpkg(t *testing.T) {
	m := newMirror(t)
	const dir = "/flatcar/boards/amd64-usr/4593.1.0/pkgs/"
	tool, library := binpkgOf(t, "app", "tool-1-r2", "./usr/bin/tool"), binpkgOf(t, "lib", "lib-3", "./usr/lib64/lib.so")
	m.files[dir+"app/tool-1-r2.tbz2"], m.files[dir+"lib/lib-3.tbz2"] = tool, library
	m.files[dir+"Packages"] = fmt.Appendf(nil, "ARCH: amd64\nPACKAGES: 2\n\nCPV: app/tool-1-r2\nSIZE: %d\nRDEPEND: lib/lib sys/libc\n\nCPV: lib/lib-3\nSIZE: %d\n\n", len(tool), len(library))
	const definition = "sources: [{binpkg: {release: 4593.1.0, packages: [app/tool]}}]\n"
	b, _ := m.over(t, checkout(t, definition))
	b.Base.Gentoo = []byte("sys/libc-2.40-r1::portage-stable\n")
	lockAll(t, b)
	if got, err := files(t, b); got != "/usr/bin/tool 755, /usr/lib64/lib.so 755" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	content, err := os.ReadFile(filepath.Join(b.Checkout, "recipes/tool/recipe.lock"))
	if err != nil || !strings.Contains(string(content), "file: boards/amd64-usr/4593.1.0/pkgs/app/tool-1-r2.tbz2") || strings.Contains(string(content), m.address) {
		t.Errorf("lock file: %v\n%s", err, content)
	}

	b.Binpkgs = ""
	if _, err := b.Look(t.Context(), load(t, b.Checkout), load(t, b.Checkout).Sources[0], arch.AMD64); err == nil || !strings.Contains(err.Error(), binpkg.EnvBinpkgs) {
		t.Errorf("without a mirror: %v", err)
	}
	for says, index := range map[string]string{
		`is for "arm64"; wanted amd64`: "ARCH: arm64\nPACKAGES: 0\n\n",
		"not in the index":             "ARCH: amd64\nPACKAGES: 0\n\n",
		"wrong content":                strings.Replace(string(m.files[dir+"Packages"]), fmt.Sprint("SIZE: ", len(tool)), "SIZE: 1", 1),
		"the index says 0000":          strings.Replace(string(m.files[dir+"Packages"]), "CPV: app", "SHA1: "+strings.Repeat("0", 40)+"\nCPV: app", 1),
	} {
		m.files[dir+"Packages"] = []byte(index)
		other, _ := m.over(t, checkout(t, definition))
		other.Base.Gentoo = b.Base.Gentoo
		if _, err := other.Look(t.Context(), load(t, other.Checkout), load(t, other.Checkout).Sources[0], arch.AMD64); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("wanted %q, error is %v", says, err)
		}
	}
}

// TestSourcesByFamily builds a recipe on a base of each family, each from its own source, and refuses it where it has none.
func TestSourcesByFamily(t *testing.T) {
	m := newMirror(t)
	const dir = "/flatcar/boards/amd64-usr/4593.1.0/pkgs/"
	tool := binpkgOf(t, "app", "tool-1", "./usr/bin/flatcars")
	m.files[dir+"app/tool-1.tbz2"] = tool
	m.files[dir+"Packages"] = fmt.Appendf(nil, "ARCH: amd64\nPACKAGES: 1\n\nCPV: app/tool-1\nSIZE: %d\n\n", len(tool))
	archive := tgz(t, "usr/bin/debians")
	m.files["/tool-1.0-x86_64"] = archive
	debians := strings.NewReplacer("sources: [{", "{for: debian, ", "]\n", "").Replace(urlSource(m, archive, ""))
	definition := "sources:\n  - " + debians + "\n  - {for: flatcar, binpkg: {release: base, packages: [app/tool]}}\n"

	flatcar, _ := m.over(t, checkout(t, definition))
	flatcar.Base.Name, flatcar.Base.VersionID = "flatcar", "4593.1.0"
	lockAll(t, flatcar)
	if got, err := files(t, flatcar); got != "/usr/bin/flatcars 755" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	flatcar.Base.VersionID = "4593.2.0"
	if _, err := files(t, flatcar); err == nil || !strings.Contains(err.Error(), `no entry for "binpkg 4593.2.0 app/tool"`) {
		t.Errorf("of another release: %v", err)
	}

	debian, _ := m.over(t, checkout(t, definition))
	debian.Base.Status = []byte("Package: libc6\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\n")
	if got, err := files(t, debian); got != "/usr/bin/debians 755" || err != nil {
		t.Errorf("%s, %v", got, err)
	}

	other, _ := m.over(t, checkout(t, "sources: ["+debians+"]\n"))
	if _, err := files(t, other); err == nil || !strings.Contains(err.Error(), "no source is for a base of the family flatcar") {
		t.Errorf("without a source: %v", err)
	}
}

// publish makes the mirror a Debian archive that has one version of the package tool, and nothing else: not what it needs for its installation.
func (m *mirror) publish(t *testing.T, key *openpgp.Entity, version string, deb []byte) {
	t.Helper()
	file := "pool/tool_" + version + ".deb"
	index := fmt.Sprintf("Package: tool\nVersion: %s\nArchitecture: amd64\nDepends: init-system-helpers, debconf | debconf-2.0\nFilename: %s\nSize: %d\nSHA256: %v\n", version, file, len(deb), digest.Of(deb))
	m.files = map[string][]byte{"/debian/" + file: deb}
	for _, pocket := range []string{"/debian/dists/trixie", "/debian/dists/trixie-updates", "/security/dists/trixie-security"} {
		var out bytes.Buffer
		w, err := clearsign.Encode(&out, key.PrivateKey, nil)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "Suite: x\nCodename: %s\nDate: %s\nArchitectures: amd64\nSHA256:\n %v %d main/binary-amd64/Packages\n",
			filepath.Base(pocket), time.Now().UTC().Format(time.RFC1123), digest.Of([]byte(index)), len(index))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		m.files[pocket+"/InRelease"], m.files[pocket+"/main/binary-amd64/Packages"] = out.Bytes(), []byte(index)
	}
}

// TestSupersededDeb locks a package whose version the archive then drops.
func TestSupersededDeb(t *testing.T) {
	key, public := newKey(t)
	keyring := filepath.Join(t.TempDir(), "keyring")
	write(t, keyring, public)
	m := newMirror(t)
	over := func(dir string) (*Builder, *bytes.Buffer) {
		b, log := m.over(t, dir)
		b.Base.Status = []byte("Package: base-files\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\n")
		b.Archive = &repository.Archive{
			Sources: repository.Sources{Main: m.address + "/debian", Security: m.address + "/security", Keyring: keyring}, Store: b.Store, Log: b.Log,
		}
		return b, log
	}
	b, _ := over(checkout(t, "sources: [{deb: {suite: trixie, packages: [tool]}}]\n"))
	m.publish(t, key, "1.0", debOf(t, "tool", "1.0"))
	lockAll(t, b)
	version := func(b *Builder) string {
		r := load(t, b.Checkout)
		resolved, err := b.Resolve(t.Context(), r, arch.AMD64)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Tree(t.Context(), resolved); err != nil {
			return err.Error()
		}
		return resolved.Inputs()[0].Version
	}
	if got := version(b); got != "1.0" {
		t.Errorf("as locked: %s", got)
	}
	foreign := *b
	foreign.Base, foreign.Locked = &target.Base{Name: "flatcar"}, true
	if _, err := foreign.Resolve(t.Context(), load(t, b.Checkout), arch.AMD64); err == nil || !strings.Contains(err.Error(), `for "deb trixie private tool"`) {
		t.Errorf("a base that is not of Debian asks another question: %v", err)
	}

	m.publish(t, key, "1.1", debOf(t, "tool", "1.1"))
	if got := version(b); got != "1.0" {
		t.Errorf("what was downloaded before can be built: %s", got)
	}
	strict, _ := over(b.Checkout)
	strict.Locked = true
	got := version(strict)
	for _, part := range []string{"package tool 1.0 is no longer in the archive, which offers 1.1", "scripts/mage recipe:lock tool"} {
		if !strings.Contains(got, part) {
			t.Errorf("with LOCKED=1: %s", got)
		}
	}
	if strings.Contains(got, "has no entry for") {
		t.Errorf("looked up with LOCKED=1: %s", got)
	}
	lenient, log := over(b.Checkout)
	if got := version(lenient); got != "1.1" || !strings.Contains(log.String(), "the lock file is stale") {
		t.Errorf("by default: %s\n%s", got, log)
	}
	other, _ := over(b.Checkout)
	other.Locked, other.Base.Name = true, "forky"
	if _, err := other.Resolve(t.Context(), load(t, b.Checkout), arch.AMD64); err == nil || !strings.Contains(err.Error(), "for base forky") {
		t.Errorf("for another base: %v", err)
	}
	write(t, filepath.Join(b.Checkout, "recipes/tool/recipe.yaml"), "name: tool\nsummary: s\nhomepage: https://example.org\nlicense: MIT\narches: [amd64]\nmax_size: 1 MiB\nsources: [{deb: {suite: trixie, packages: [tool], without: [more]}}]\n")
	if _, err := strict.Resolve(t.Context(), load(t, b.Checkout), arch.AMD64); err == nil || !strings.Contains(err.Error(), "recipe.yaml:7: the lock file has no entry for") {
		t.Errorf("for another question: %v", err)
	}
	named, _ := over(checkout(t, "sources: [{deb: {suite: trixie, packages: [debconf]}}]\n"))
	if _, err := named.Resolve(t.Context(), load(t, named.Checkout), arch.AMD64); err == nil || !strings.Contains(err.Error(), "trixie has no package debconf") {
		t.Errorf("a package for installing that is asked for: %v", err)
	}
}
