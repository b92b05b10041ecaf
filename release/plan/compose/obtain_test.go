package compose

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/profiles"
	"github.com/flatcar/oem-sysext/release/setup"
)

// hub is a server with files, and with a release on GitHub whose assets some of these are. It is strict: it wants the token where the
// API is, and nowhere else.
type hub struct {
	*httptest.Server
	files    map[string][]byte // by path
	assets   []string          // names of those that the API lists for release v1 of owner/tools
	limited  bool              // no more requests to the API for an hour
	cut      int               // how often a file is cut in the middle
	short    int               // how many bytes of a file are left, for good
	redirect string            // where the image is sent to
}

const (
	hubToken  = "ghp_hunter2"
	assetsDir = "/owner/tools/releases/download/v1/"
)

func newHub(t *testing.T) *hub {
	h := &hub{files: map[string][]byte{}}
	h.Server = httptest.NewServer(http.HandlerFunc(h.serve))
	t.Cleanup(h.Close)
	return h
}

func (h *hub) serve(w http.ResponseWriter, r *http.Request) {
	name, isAPI := strings.CutPrefix(r.URL.Path, "/api/")
	switch content, there := h.files[r.URL.Path]; {
	case isAPI != (r.Header.Get("Authorization") == "Bearer "+hubToken):
		http.Error(w, "the token is for the API", http.StatusUnauthorized)
	case isAPI && h.limited:
		w.Header().Set("X-RateLimit-Limit", "60")
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Add(time.Hour).Unix()))
		w.WriteHeader(http.StatusForbidden)
	case isAPI && name == "repos/owner/tools/releases/tags/v1":
		h.release(w)
	case h.redirect != "":
		http.Redirect(w, r, h.redirect, http.StatusFound)
	case there && h.cut > 0 && len(content) > 1000:
		h.cut--
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:len(content)/2]) // and the server hangs up, since that is not all
	case there && h.short > 0 && len(content) > 1000:
		_, _ = w.Write(content[:h.short])
	case there:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	default:
		http.NotFound(w, r)
	}
}

func (h *hub) release(w http.ResponseWriter) {
	type asset struct {
		Name string `json:"name"`
		Size int    `json:"size"`
		URL  string `json:"browser_download_url"`
	}
	var list []asset
	for _, name := range h.assets {
		list = append(list, asset{name, len(h.files[assetsDir+name]), h.URL + assetsDir + name})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"tag_name": "v1", "assets": list})
}

// fetcher is a composer that can fetch, and nothing else, with an empty store.
func (h *hub) fetcher(t *testing.T, dir string, locked bool) *Composer {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	client := fetch.NewClient(log)
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, time.Millisecond
	environment := map[string]string{github.EnvAPI: h.URL + "/api", github.EnvServer: h.URL, github.EnvToken: hubToken}
	api, err := github.NewFrom(func(name string) string { return environment[name] }, client)
	if err != nil {
		t.Fatal(err)
	}
	return &Composer{
		bench:   &setup.Bench{Store: fetch.New(filepath.Join(t.TempDir(), "store"), log, nil), Log: log},
		choice:  &setup.Choice{Profile: &profiles.Profile{Dir: dir}},
		base:    &bases.Base{Arch: arch.AMD64},
		factory: &oem.Factory{Builder: &build.Builder{GitHub: api, Locked: locked}},
	}
}

// signer signs files in both ways, and has its public keys in a file and as a text.
type signer struct {
	pgp      *openpgp.Entity
	mini     minisign.PrivateKey
	miniText string
}

func newSigner(t *testing.T, keyring string) signer {
	t.Helper()
	fatal := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	past := &packet.Config{Time: func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }, Algorithm: packet.PubKeyAlgoEdDSA}
	key, err := openpgp.NewEntity("Upstream", "", "upstream@example.org", past)
	fatal(err)
	f, err := os.Create(keyring)
	fatal(err)
	out, err := armor.Encode(f, openpgp.PublicKeyType, nil)
	fatal(err)
	fatal(key.Serialize(out))
	fatal(out.Close())
	fatal(f.Close())
	public, private, err := minisign.GenerateKey(rand.Reader)
	fatal(err)
	text, err := public.MarshalText()
	fatal(err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return signer{key, private, lines[len(lines)-1]}
}

func (s signer) asc(t *testing.T, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&out, s.pgp, bytes.NewReader(content), nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (s signer) minisig(t *testing.T, content []byte) []byte {
	t.Helper()
	reader := minisign.NewReader(bytes.NewReader(content))
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Fatal(err)
	}
	return reader.Sign(s.mini)
}

// An image comes from an address when its digest, a signature or both vouch for it, and not otherwise.
func TestExtensionFromURL(t *testing.T) {
	dir := t.TempDir()
	upstream, other := newSigner(t, filepath.Join(dir, "upstream.asc")), newSigner(t, filepath.Join(dir, "other.asc"))
	image := bytes.Repeat([]byte("an image "), 1000)
	right, wrong := map[arch.Arch]digest.SHA256{arch.AMD64: digest.Of(image)}, map[arch.Arch]digest.SHA256{arch.AMD64: digest.Of(nil)}
	byPGP, byMini := recipe.Signature{Suffix: ".asc", OpenPGP: text("upstream.asc")}, recipe.Signature{Suffix: ".minisig", Minisign: upstream.miniText}
	for name, c := range map[string]struct {
		sums    map[arch.Arch]digest.SHA256
		by      *recipe.Signature
		prepare func(*hub)
		locked  bool
		want    string
	}{
		"digest":                       {sums: right},
		"digest, locked":               {sums: right, locked: true},
		"OpenPGP":                      {by: &byPGP},
		"minisign":                     {by: &byMini},
		"digest and OpenPGP":           {sums: right, by: &byPGP},
		"cut in the middle":            {sums: right, prepare: func(h *hub) { h.cut = 1 }},
		"cut in the middle, signed":    {by: &byMini, prepare: func(h *hub) { h.cut = 1 }},
		"wrong digest":                 {sums: wrong, want: "wanted sha256 " + digest.Of(nil).String()},
		"wrong digest, good signature": {sums: wrong, by: &byPGP, want: "wanted sha256 " + digest.Of(nil).String()},
		"no digest for amd64":          {sums: map[arch.Arch]digest.SHA256{arch.ARM64: digest.Of(image)}, want: "has no sha256 for amd64"},
		"locked without digest":        {by: &byPGP, locked: true, want: "has no sha256 for amd64"},
		"another's OpenPGP key":        {by: &recipe.Signature{Suffix: ".asc", OpenPGP: text("other.asc")}, want: "no good signature by a key of the keyring"},
		"another's minisign key":       {by: &recipe.Signature{Suffix: ".minisig", Minisign: other.miniText}, want: "signed by key"},
		"good digest, other's key":     {sums: right, by: &recipe.Signature{Suffix: ".asc", OpenPGP: text("other.asc")}, want: "no good signature"},
		"no signature there":           {by: &recipe.Signature{Suffix: ".sig", OpenPGP: text("upstream.asc")}, want: "HTTP status 404"},
		"changed after signing":        {by: &byMini, prepare: func(h *hub) { h.files["/amd64/tool.raw"] = []byte("other") }, want: "does not belong"},
		"not there":                    {sums: right, prepare: func(h *hub) { delete(h.files, "/amd64/tool.raw") }, want: "HTTP status 404"},
		"sent to a file":               {sums: right, prepare: func(h *hub) { h.redirect = "file:///etc/passwd" }, want: "redirects to a file address"},
		"endless signature":            {by: &byPGP, prepare: func(h *hub) { h.files["/amd64/tool.raw.asc"] = make([]byte, 100_000) }, want: "more than 64.0 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t)
			h.files = map[string][]byte{"/amd64/tool.raw": image, "/amd64/tool.raw.asc": upstream.asc(t, image), "/amd64/tool.raw.minisig": upstream.minisig(t, image)}
			if c.prepare != nil {
				c.prepare(h)
			}
			composer := h.fetcher(t, dir, c.locked)
			x := &profiles.Extension{URL: &profiles.URL{Address: text(h.URL + "/{arch}/tool.raw"), SHA256: c.sums, Signature: c.by}}
			file, input, err := composer.fetch(t.Context(), x)
			isFetched(t, image, file, err, c.want)
			if err == nil && (input.Kind != "url" || input.Name != "tool.raw") {
				t.Errorf("it is %+v", input)
			}
		})
	}
}

// isFetched compares what was fetched with the image, or the error with what it has to say.
func isFetched(t *testing.T, image []byte, file string, err error, want string) {
	t.Helper()
	switch {
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error is %v; wanted %q", err, want)
	case want == "" && err != nil:
		t.Error(err)
	case want == "" && !bytes.Equal(contentOf(t, file), image):
		t.Error("it is not the image")
	}
}

// An image comes from a release on GitHub when the sums beside it, which may have to be signed, or a digest have it.
func TestExtensionFromGitHub(t *testing.T) {
	dir := t.TempDir()
	upstream := newSigner(t, filepath.Join(dir, "upstream.asc"))
	newSigner(t, filepath.Join(dir, "other.asc"))
	const image, sums = "tool-2-x86-64.raw", "SHA256SUMS"
	content := bytes.Repeat([]byte("an image "), 1000)
	sum := func(d digest.SHA256, name string) string { return d.String() + "  " + name + "\n" }
	good := sum(digest.Of(nil), "tool-2-arm64.raw") + sum(digest.Of(content), image)
	list := func(text string) func(*hub) { return func(h *hub) { h.files[assetsDir+sums] = []byte(text) } }
	without := func(name string) func(*hub) {
		return func(h *hub) { h.assets = slices.DeleteFunc(h.assets, func(a string) bool { return a == name }) }
	}
	for name, c := range map[string]struct {
		github  profiles.GitHub
		prepare func(*hub)
		locked  bool
		want    string
	}{
		"sums":              {},
		"sums in binary":    {prepare: list(digest.Of(content).String() + " *" + image + "\n")},
		"signed sums":       {github: profiles.GitHub{Signature: &recipe.Signature{Suffix: ".asc", OpenPGP: text("upstream.asc")}}},
		"digest":            {github: profiles.GitHub{SHA256: map[arch.Arch]digest.SHA256{arch.AMD64: digest.Of(content)}}, prepare: without(sums), locked: true},
		"cut in the middle": {prepare: func(h *hub) { h.cut = 1 }},
		"wrong sum":         {prepare: list(sum(digest.Of(nil), image)), want: "wanted sha256 " + digest.Of(nil).String()},
		"wrong digest":      {github: profiles.GitHub{SHA256: map[arch.Arch]digest.SHA256{arch.AMD64: digest.Of(nil)}}, want: "wanted sha256 " + digest.Of(nil).String()},
		"not in the sums":   {prepare: list(sum(digest.Of(content), "tool-1-x86-64.raw")), want: "SHA256SUMS of release v1: no sum of tool-2-x86-64.raw"},
		"two sums":          {prepare: list(good + sum(digest.Of(nil), image)), want: "two different sums of tool-2-x86-64.raw"},
		"no digest in sums": {prepare: list("1234  " + image + "\n"), want: "SHA256SUMS of release v1: "},
		"endless line":      {prepare: list(strings.Repeat("a", 100_000)), want: "token too long"},
		"endless sums":      {prepare: list(strings.Repeat(good, 20_000)), want: "more than 1.0 MiB"},
		"no sums":           {prepare: without(sums), want: `has 0 assets that match "SHA256SUMS"`},
		"no image":          {prepare: without(image), want: `has 0 assets that match "tool-2-x86-64.raw"`},
		"no release":        {github: profiles.GitHub{Tag: "v2"}, want: "release v2 of owner/tools: HTTP status 404"},
		"limit":             {prepare: func(h *hub) { h.limited = true }, want: "limit of 60 requests an hour is used up until"},
		"locked":            {locked: true, want: "has no sha256 for amd64, and LOCKED"},
		"another's key":     {github: profiles.GitHub{Signature: &recipe.Signature{Suffix: ".asc", OpenPGP: text("other.asc")}}, want: "no good signature"},
		"no signature":      {github: profiles.GitHub{Signature: &recipe.Signature{Suffix: ".sig", OpenPGP: text("upstream.asc")}}, want: "HTTP status 404"},
		"sums changed": {
			github: profiles.GitHub{Signature: &recipe.Signature{Suffix: ".asc", OpenPGP: text("upstream.asc")}}, prepare: list(good + "\n"), want: "no good signature",
		},
		"shorter than the API says": {prepare: func(h *hub) { h.short = 100 }, want: "wanted 9000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t)
			h.assets = []string{"tool-2-arm64.raw", image, sums, sums + ".asc"}
			h.files = map[string][]byte{assetsDir + image: content, assetsDir + sums: []byte(good), assetsDir + sums + ".asc": upstream.asc(t, []byte(good))}
			if c.prepare != nil {
				c.prepare(h)
			}
			composer := h.fetcher(t, dir, c.locked)
			g := c.github
			g.Repository = text("owner/tools")
			if g.Tag == "" {
				g.Tag = "v1"
			}
			file, input, err := composer.fetch(t.Context(), &profiles.Extension{Name: text("tool"), Version: text("2"), GitHub: &g})
			isFetched(t, content, file, err, c.want)
			if err == nil && (input.Kind != "github" || input.Name != image) {
				t.Errorf("it is %+v", input)
			}
			if err != nil && strings.Contains(err.Error(), hubToken) {
				t.Errorf("the token is in: %v", err)
			}
		})
	}
}

func text(value string) strictyaml.Text { return strictyaml.Text{Value: value} }

func contentOf(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
