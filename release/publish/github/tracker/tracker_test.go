package tracker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/release/publish/github/githubtest"
)

const title = "Nightly fails"

func tracker(t *testing.T, s *githubtest.Server) *Tracker {
	t.Helper()
	return &Tracker{Client: s.Client(t, githubtest.Token), Repository: githubtest.Repository}
}

// open returns the items that are open, as "title: body".
func open(s *githubtest.Server) (list []string) {
	for _, i := range s.Items() {
		if i.State == "open" {
			list = append(list, i.Title+": "+i.Body)
		}
	}
	return list
}

func TestOneIssue(t *testing.T) {
	s := githubtest.New(t)
	s.PageSize = 1
	s.Branches = func(string) bool { return true }
	s.AddItem(githubtest.Item{Title: title, Body: "a pull request", Head: "fix", Base: "main"})
	s.AddItem(githubtest.Item{Title: "Another", Body: "issue"})
	tr := tracker(t, s)
	for _, body := range []string{"first night", "second night", "second night"} {
		address, err := tr.Report(t.Context(), title, body)
		if err != nil || !strings.HasSuffix(address, "/issues/3") {
			t.Fatalf("%s, %v", address, err)
		}
	}
	if diff := cmp.Diff([]string{title + ": a pull request", "Another: issue", title + ": second night"}, open(s)); diff != "" {
		t.Error(diff)
	}
	asked := s.Requests()
	if last := asked[len(asked)-1]; !strings.HasPrefix(last, "GET ") {
		t.Errorf("the same text again sent %s", last)
	}
	if n, err := tr.Resolve(t.Context(), title); n != 1 || err != nil {
		t.Errorf("closed %d, %v", n, err)
	}
	if n, err := tr.Resolve(t.Context(), title); n != 0 || err != nil {
		t.Errorf("closed %d, %v", n, err)
	}
	if _, err := tr.Report(t.Context(), title, "weeks later"); err != nil || len(s.Items()) != 4 {
		t.Errorf("after it was closed: %v, %v", open(s), err)
	}
}

func TestOnePullRequest(t *testing.T) {
	s := githubtest.New(t)
	s.Branches = func(name string) bool { return name == "main" || strings.HasPrefix(name, "bump/") }
	s.AddItem(githubtest.Item{Title: "bump a", Head: "bump/a", Base: "stable"})
	tr := tracker(t, s)
	for _, body := range []string{"1 to 2", "1 to 3", "1 to 3"} {
		if _, err := tr.Propose(t.Context(), "bump/a", "main", "bump a", body); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tr.Propose(t.Context(), "bump/b", "main", "bump b", "2 to 3"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"bump a: ", "bump a: 1 to 3", "bump b: 2 to 3"}, open(s)); diff != "" {
		t.Error(diff)
	}
	if _, err := tr.Propose(t.Context(), "nowhere", "main", "x", "y"); err == nil || !strings.Contains(err.Error(), "POST /pulls of owner/tools: HTTP status 422") {
		t.Errorf("error is %v", err)
	}
}

func TestLongBody(t *testing.T) {
	s := githubtest.New(t)
	if _, err := tracker(t, s).Report(t.Context(), title, strings.Repeat("ä line\n", 20_000)); err != nil {
		t.Fatal(err)
	}
	if body := s.Items()[0].Body; !strings.HasSuffix(body, "ä line\n\n(The rest is left out.)\n") {
		t.Errorf("ends with %q", body[len(body)-60:])
	}
}

func TestMayNotWrite(t *testing.T) {
	s := githubtest.New(t)
	s.MayWrite = false
	if _, err := tracker(t, s).Report(t.Context(), title, "x"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("error is %v", err)
	}
	if n := len(s.Requests()); n != 2 {
		t.Errorf("%d requests; wanted that a refusal is taken for one", n)
	}
}

// TestFaults has a server that fails at random: however often a night is reported, there is one issue and one pull request.
func TestFaults(t *testing.T) {
	for seed := range uint64(60) {
		s := githubtest.New(t)
		s.Branches = func(string) bool { return true }
		s.Faults = githubtest.NewFaults(seed, 0.3, time.Millisecond)
		tr := tracker(t, s)
		for night := range 3 {
			for try := 0; ; try++ {
				_, err := tr.Report(t.Context(), title, fmt.Sprint("night ", night))
				if err == nil {
					_, err = tr.Propose(t.Context(), "bump", "main", "bump", fmt.Sprint("night ", night))
				}
				if err == nil {
					break
				}
				if try == 50 {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		}
		got := open(s)
		if len(got) != 2 || !strings.HasSuffix(got[0], "night 2") || !strings.HasSuffix(got[1], "night 2") {
			t.Fatalf("seed %d: %q", seed, got)
		}
	}
}
