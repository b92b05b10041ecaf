package publish

import (
	"io"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/release/publish/githubtest"
)

func TestMayPublish(t *testing.T) {
	const tag = "1.2.3-amd64"
	for name, test := range map[string]struct {
		server func(*githubtest.Server)
		token  string
		says   string
	}{
		"may":                   {},
		"app may":               {server: func(s *githubtest.Server) { s.MayPush, s.IsApp = false, true }},
		"classic may":           {server: func(s *githubtest.Server) { s.Scopes = "repo" }},
		"draft is there":        {server: func(s *githubtest.Server) { s.Add(githubtest.Release{Tag: tag, Draft: true}) }},
		"no token":              {token: "-", says: "GITHUB_TOKEN is missing, has expired or was revoked"},
		"no scope":              {server: func(s *githubtest.Server) { s.Scopes = "gist" }, says: "wanted repo"},
		"its owner may, not it": {server: func(s *githubtest.Server) { s.MayWrite = false }, says: "permission contents: write"},
		"app may not":           {server: func(s *githubtest.Server) { s.MayPush, s.IsApp, s.MayWrite = false, true, false }, says: "permission contents: write"},
		"published":             {server: func(s *githubtest.Server) { s.Add(githubtest.Release{Tag: tag}) }, says: "is published already"},
	} {
		t.Run(name, func(t *testing.T) {
			s := githubtest.New(t)
			if test.server != nil {
				test.server(s)
			}
			p := publisher(t, s, io.Discard)
			if test.token != "" {
				hosted(p).Client = s.Client(t, test.token)
			}
			before := len(s.Releases())
			err := p.MayPublish(t.Context(), tag)
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v; wanted %q", err, test.says)
			}
			if len(s.Releases()) != before {
				t.Error("it made a release")
			}
		})
	}
}

func TestPrevious(t *testing.T) {
	s := githubtest.New(t)
	for _, r := range []githubtest.Release{
		{Tag: "1.0.0-amd64", Created: "2026-01-01T00:00:00Z"},
		{Tag: "1.2.0-amd64", Created: "2026-01-03T00:00:00Z"},
		{Tag: "1.1.0-amd64", Created: "2026-01-02T00:00:00Z"}, // made later, of an older commit
		{Tag: "1.2.1-amd64", Created: "2026-01-04T00:00:00Z", Prerelease: true},
		{Tag: "1.2.2-arm64", Created: "2026-01-05T00:00:00Z"},
		{Tag: "1.2.3-amd64", Created: "2026-01-06T00:00:00Z"},
		{Tag: "1.2.4-amd64", Created: "2026-01-07T00:00:00Z", Draft: true},
	} {
		s.Add(r)
	}
	p := publisher(t, s, io.Discard)
	for _, test := range []struct {
		tag, arch  string
		prerelease bool
		want       string
	}{
		{"1.2.3-amd64", "amd64", false, "1.2.0-amd64"},
		{"1.2.3-amd64", "amd64", true, "1.2.1-amd64"},
		{"2.0.0-arm64", "arm64", false, "1.2.2-arm64"},
		{"2.0.0-riscv64", "riscv64", true, ""},
	} {
		got, err := p.Previous(t.Context(), test.tag, test.arch, test.prerelease)
		if err != nil || got != test.want {
			t.Errorf("before %s: %q, %v; wanted %q", test.tag, got, err, test.want)
		}
	}
}
