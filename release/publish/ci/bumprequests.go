package ci

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
	"github.com/flatcar/oem-sysext/release/care"
	"github.com/flatcar/oem-sysext/release/publish"
	"github.com/flatcar/oem-sysext/release/publish/github/tracker"
	"github.com/flatcar/oem-sysext/release/setup"
)

// bot is who commits newer versions. A branch that ends with somebody else's commit is left alone.
const (
	botName  = "oem-sysext"
	botEmail = "oem-sysext@users.noreply.github.com"
)

// BumpRequests makes a branch bump/NAME and a pull request of each recipe for which there is something newer, the named ones or all.
// The environment says where: GITHUB_REPOSITORY, GITHUB_TOKEN, and GITHUB_REF_NAME, the branch that they are for, main by default.
// The checkout is a clone whose remote is named origin. It stays as it was. What could not be looked up is an error after all the rest.
func BumpRequests(ctx context.Context, o setup.Options, names []string, out io.Writer) error {
	all, mistakes := recipe.Load(rooted.Files(o.Checkout), "recipes")
	if err := mistakes.Err(); err != nil {
		return err
	}
	recipes, err := all.Choose(names)
	if err != nil {
		return err
	}
	p, err := newProposer(o)
	if err != nil {
		return err
	}
	if err := p.isClean(ctx); err != nil {
		return err
	}
	var failures []error
	for _, r := range recipes {
		name := r.Name.Value
		err := p.one(ctx, name, path.Join("recipes", name), out, func() ([]care.Bumped, error) { return care.Bump(ctx, o, name) })
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", name, err))
		}
	}
	if slices.Contains(names, "all") {
		err := p.one(ctx, care.FloorsName, repository.FloorsFile, out, func() ([]care.Bumped, error) { return care.BumpFloors(ctx, o) })
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", care.FloorsName, err))
		}
	}
	return errors.Join(failures...)
}

// one proposes what bump changes of a file or directory, and leaves the checkout as it was.
func (p *proposer) one(ctx context.Context, name, changed string, out io.Writer, bump func() ([]care.Bumped, error)) error {
	changes, err := bump()
	if err == nil {
		err = p.propose(ctx, name, changed, changes, out)
	}
	return errors.Join(err, p.git(ctx, nil, "reset", "--quiet", "--hard"))
}

// proposer proposes what is changed in a checkout.
type proposer struct {
	checkout string
	into     string // the branch that pull requests are for
	tracker  *tracker.Tracker
	server   string
	token    string
}

func newProposer(o setup.Options) (*proposer, error) {
	hosted, err := publish.Repository(o)
	if err != nil {
		return nil, err
	}
	return &proposer{
		checkout: o.Checkout, into: cmp.Or(o.GitHub.Ref, "main"),
		tracker: &tracker.Tracker{Client: hosted.Client, Repository: hosted.Name},
		server:  hosted.Client.Server, token: o.GitHub.Token,
	}, nil
}

func (p *proposer) isClean(ctx context.Context) error {
	var changed bytes.Buffer
	if err := p.git(ctx, &changed, "status", "--porcelain", "--untracked-files=no"); err != nil {
		return err
	}
	if changed.Len() > 0 {
		return fmt.Errorf("the checkout has changes that are in no commit, and they would get lost:\n%s", &changed)
	}
	return nil
}

// propose makes a branch and a pull request of what is changed in a file or directory, if anything is.
func (p *proposer) propose(ctx context.Context, name, changed string, changes []care.Bumped, out io.Writer) error {
	commit, err := p.commit(ctx, changed, "bump: "+subject(name, changes))
	if err != nil || commit == "" {
		return err
	}
	branch := "bump/" + name
	if err := p.push(ctx, commit, branch); err != nil {
		return err
	}
	var body strings.Builder
	asked := name
	if name == care.FloorsName {
		asked = "all"
	}
	body.WriteString("`scripts/mage recipe:bump " + asked + "` found:\n\n")
	if err := care.WriteBumped(&body, changes, nil); err != nil {
		return err
	}
	address, err := p.tracker.Propose(ctx, branch, p.into, subject(name, changes), body.String())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %s\n", name, address)
	return err
}

// subject says in a line what is newer.
func subject(name string, changes []care.Bumped) string {
	if len(changes) != 1 {
		return fmt.Sprintf("%s: %d newer versions", name, len(changes))
	}
	return fmt.Sprintf("%s: %s %s", name, path.Base(changes[0].Name), changes[0].To)
}

// commit returns a commit of what is changed in a directory, on top of the current one; nothing when nothing is. It has the date of
// that one, so that the same change is the same commit.
func (p *proposer) commit(ctx context.Context, dir, message string) (string, error) {
	if err := p.git(ctx, nil, "add", "--all", "--", dir); err != nil {
		return "", err
	}
	tree, err := p.ask(ctx, "write-tree")
	if err != nil {
		return "", err
	}
	before, err := p.ask(ctx, "rev-parse", "HEAD^{tree}")
	if err != nil || tree == before {
		return "", err
	}
	date, err := p.ask(ctx, "show", "--no-patch", "--format=%cI", "HEAD")
	if err != nil {
		return "", err
	}
	return p.askAs(ctx, []string{
		"GIT_AUTHOR_NAME=" + botName, "GIT_AUTHOR_EMAIL=" + botEmail, "GIT_AUTHOR_DATE=" + date,
		"GIT_COMMITTER_NAME=" + botName, "GIT_COMMITTER_EMAIL=" + botEmail, "GIT_COMMITTER_DATE=" + date,
	}, "commit-tree", tree, "-p", "HEAD", "-m", message)
}

// push makes a branch of the repository lead to a commit, unless it does, or ends with a commit of somebody else.
func (p *proposer) push(ctx context.Context, commit, branch string) error {
	ref := "refs/heads/" + branch
	there, err := p.ask(ctx, "ls-remote", "origin", ref)
	if err != nil {
		return err
	}
	last, _, _ := strings.Cut(there, "\t")
	if last == commit {
		return nil
	}
	if last != "" {
		if err := p.git(ctx, nil, "fetch", "--quiet", "--depth=1", "origin", ref); err != nil {
			return err
		}
		who, err := p.ask(ctx, "show", "--no-patch", "--format=%ce", "FETCH_HEAD")
		if err != nil {
			return err
		}
		if who != botEmail {
			return fmt.Errorf("the branch %s ends with a commit of %s; merge it or delete it, then newer versions are proposed again", branch, who)
		}
	}
	return p.git(ctx, nil, "push", "--quiet", "--force-with-lease="+ref+":"+last, "origin", commit+":"+ref)
}

func (p *proposer) ask(ctx context.Context, args ...string) (string, error) {
	return p.askAs(ctx, nil, args...)
}

func (p *proposer) askAs(ctx context.Context, env []string, args ...string) (string, error) {
	var out bytes.Buffer
	err := p.run(ctx, env, &out, args...)
	return strings.TrimSpace(out.String()), err
}

func (p *proposer) git(ctx context.Context, out io.Writer, args ...string) error {
	return p.run(ctx, nil, out, args...)
}

// run runs git, which gets the token for the server by its environment, where other users do not see it.
func (p *proposer) run(ctx context.Context, env []string, out io.Writer, args ...string) error {
	env = append(env, "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_COUNT=1",
		"GIT_CONFIG_KEY_0=http."+p.server+"/.extraHeader",
		"GIT_CONFIG_VALUE_0=Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("x-access-token:"+p.token)))
	dir, err := filepath.Abs(p.checkout)
	if err != nil {
		return err
	}
	return run.Run(ctx, run.Cmd{
		Program: "git", Args: append([]string{"-c", "safe.directory=" + dir}, args...), Dir: dir,
		Env: append(run.HostEnv("PATH", "HOME", "http_proxy", "https_proxy", "no_proxy"), env...), Stdout: out,
	})
}
