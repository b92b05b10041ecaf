package nebraska

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/arch"
)

// archNumbers are Nebraska's numbers of architectures (backend/pkg/api/arches.go).
var archNumbers = map[arch.Arch]int{arch.AMD64: 1, arch.ARM64: 2}

// flatcarPackage is Nebraska's number of the type of packages that update_engine takes.
const flatcarPackage = 1

// named is what is looked up by its name.
type named struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	ProductID string `json:"product_id"` // of applications
}

// channel is what a channel is, and how it is changed.
type channel struct {
	ID      string `json:"id,omitempty"`
	App     string `json:"application_id"`
	Name    string `json:"name"`
	Color   string `json:"color"`
	Arch    int    `json:"arch"`
	Package string `json:"package_id"`
}

// group is who follows a channel.
type group struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Track   string `json:"track"` // as machines call it, in GROUP= of update.conf
	Channel string `json:"channel_id"`
	Updates bool   `json:"policy_updates_enabled"`
}

// pkg is one version of the OS on a server.
type pkg struct {
	ID          string      `json:"id,omitempty"`
	App         string      `json:"application_id"`
	Arch        int         `json:"arch"`
	Type        int         `json:"type"`
	Version     string      `json:"version"`
	URL         string      `json:"url"`
	Filename    string      `json:"filename"`
	Size        string      `json:"size"`
	Hash        string      `json:"hash"` // SHA-1, base64
	Description string      `json:"description"`
	Blacklist   []string    `json:"channels_blacklist"` // ids
	Action      action      `json:"flatcar_action"`     // without it the server takes the package, and no machine gets it
	Extra       []extraFile `json:"extra_files"`
}

type action struct {
	SHA256 string `json:"sha256"` // base64; that it is a delta cannot be said here, and no client asks
}

type extraFile struct {
	Name   string `json:"name"`
	Size   string `json:"size"`
	Hash   string `json:"hash"`    // SHA-1, base64
	SHA256 string `json:"hash256"` // hexadecimal
}

// pkg returns the update as a package of an application.
func (u *Update) pkg(app string) pkg {
	p := pkg{
		App: app, Arch: archNumbers[u.Arch], Type: flatcarPackage, Version: u.Version, URL: u.Codebase,
		Filename: u.OS.Name, Size: u.OS.decimal(), Hash: u.OS.SHA1,
		Description: "Flatcar " + u.Version + " with OEM tools in /usr",
		Blacklist:   []string{}, Action: action{u.OS.sha256InBase64()}, Extra: []extraFile{},
	}
	for _, f := range u.Extra {
		p.Extra = append(p.Extra, extraFile{f.Name, f.decimal(), f.SHA1, f.SHA256.String()})
	}
	return p
}

// differences says where a package on the server is not the wanted one.
func (p pkg) differences(wanted pkg) []string {
	var found []string
	compare := func(what, got, want string) {
		if got != want {
			found = append(found, fmt.Sprintf("%s is %s; wanted %s", what, cmp.Or(got, "nothing"), cmp.Or(want, "nothing")))
		}
	}
	compare("url", p.URL, wanted.URL)
	compare("filename", p.Filename, wanted.Filename)
	compare("size", p.Size, wanted.Size)
	compare("hash", p.Hash, wanted.Hash)
	compare("sha256 of flatcar_action", p.Action.SHA256, wanted.Action.SHA256)
	extra := func(p pkg, name string) string {
		if i := slices.IndexFunc(p.Extra, func(f extraFile) bool { return f.Name == name }); i >= 0 {
			f := p.Extra[i]
			return strings.Join([]string{f.Size, f.Hash, f.SHA256}, " ")
		}
		return ""
	}
	for _, f := range slices.Concat(p.Extra, wanted.Extra) {
		compare(f.Name, extra(p, f.Name), extra(wanted, f.Name))
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// Place is where on a server a release goes.
type Place struct {
	App     string // name, product id or id
	Channel string // name
}

// Publish makes the package of an update on a server and moves the channel to it. What is there already is left alone;
// a package of the same version with another content is an error, because machines may have it. Without apply nothing
// is changed, and what would be sent is written to out. What only machines of one version can apply goes to a channel only if all of its
// machines run that, and is kept from those of older versions that come later.
func (s *Server) Publish(ctx context.Context, u *Update, to Place, apply bool, out io.Writer) error {
	app, err := s.app(ctx, to.App)
	if err != nil {
		return err
	}
	at := "/api/apps/" + url.PathEscape(app.ID)
	moved, err := s.channel(ctx, at, app, to.Channel, u.Arch)
	if err != nil {
		return err
	}
	found, err := s.find(ctx, at, u.pkg(app.ID))
	if err != nil {
		return err
	}
	if u.From != "" && (found == "" || found != moved.Package) {
		if err := s.secure(ctx, at, moved, u, apply, out); err != nil {
			return fmt.Errorf("DELTA: %w", err)
		}
	}
	switch {
	case found != "":
		fmt.Fprintf(out, "package %s for %v is there already\n", u.Version, u.Arch)
	case apply:
		if found, err = s.create(ctx, at, u.pkg(app.ID)); err != nil {
			return err
		}
		fmt.Fprintf(out, "package %s for %v is made\n", u.Version, u.Arch)
	default:
		if err := show(out, http.MethodPost, at+"/packages", u.pkg(app.ID)); err != nil {
			return err
		}
	}
	if err := s.move(ctx, move{at, moved, found}, apply, out); err != nil {
		return err
	}
	return s.sayFollowers(ctx, at, moved, u.Group, out)
}

// show writes a request that is not sent.
func show(out io.Writer, method, path string, body any) error {
	encoded, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s %s\n%s\n", method, path, encoded)
	return err
}

func (s *Server) app(ctx context.Context, name string) (named, error) {
	apps, err := list[named](ctx, s, "/api/apps", "applications", nil)
	if err != nil {
		return named{}, err
	}
	var names []string
	for _, a := range apps {
		if a.ID == name || a.Name == name || a.ProductID != "" && a.ProductID == name {
			return a, nil
		}
		names = append(names, fmt.Sprintf("%q (%s)", a.Name, a.ID))
	}
	return named{}, fmt.Errorf("no application %q on the server; there are %s", name, strings.Join(names, ", "))
}

func (s *Server) channel(ctx context.Context, at string, app named, name string, a arch.Arch) (channel, error) {
	channels, err := list[channel](ctx, s, at+"/channels", "channels", nil)
	if err != nil {
		return channel{}, err
	}
	var names []string
	for _, c := range channels {
		if c.Arch != archNumbers[a] {
			continue
		}
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	return channel{}, fmt.Errorf("application %q has no channel %q for %v; there are %s", app.Name, name, a, strings.Join(names, ", "))
}

// find returns the id of the wanted package, or nothing when the server has no package of its version.
func (s *Server) find(ctx context.Context, at string, wanted pkg) (string, error) {
	packages, err := list[pkg](ctx, s, at+"/packages", "packages", url.Values{"searchVersion": {wanted.Version}})
	if err != nil {
		return "", err
	}
	for _, p := range packages {
		if p.Version != wanted.Version || p.Arch != wanted.Arch {
			continue
		}
		if wrong := p.differences(wanted); len(wrong) > 0 {
			return "", fmt.Errorf("the server has another package %s; make the release with another VERSION:\n%s", p.Version, strings.Join(wrong, "\n"))
		}
		return p.ID, nil
	}
	return "", nil
}

// create makes a package. Where that fails the answer of an earlier attempt may have been lost, so it looks once more.
func (s *Server) create(ctx context.Context, at string, wanted pkg) (string, error) {
	var made named
	err := s.ask(ctx, http.MethodPost, at+"/packages", wanted, &made)
	if refused := (*statusError)(nil); errors.As(err, &refused) && refused.status < http.StatusInternalServerError {
		return "", err
	}
	if err != nil {
		found, findErr := s.find(ctx, at, wanted)
		if findErr != nil || found == "" {
			return "", errors.Join(err, findErr)
		}
		return found, nil
	}
	if made.ID == "" {
		return "", fmt.Errorf("POST %s/packages: the answer has no id", at)
	}
	return made.ID, nil
}

// move is of a channel to a package, whose id is not known yet where nothing is changed.
type move struct {
	at      string // the application's path
	channel channel
	to      string
}

// move points a channel to a package.
func (s *Server) move(ctx context.Context, m move, apply bool, out io.Writer) error {
	c, to := m.channel, m.to
	if to != "" && c.Package == to {
		_, err := fmt.Fprintf(out, "channel %s is at it already\n", c.Name)
		return err
	}
	path := m.at + "/channels/" + url.PathEscape(c.ID)
	c.ID, c.Package = "", cmp.Or(to, "the id of the new package")
	if !apply {
		return show(out, http.MethodPut, path, c)
	}
	var moved channel
	if err := s.ask(ctx, http.MethodPut, path, c, &moved); err != nil {
		return err
	}
	if moved.Package != to {
		return fmt.Errorf("PUT %s: the channel is at package %q; wanted %s", path, moved.Package, to)
	}
	_, err := fmt.Fprintf(out, "channel %s is at it now\n", c.Name)
	return err
}

// sayFollowers says which machines get what the channel points to, and whether those do that the release sends to a group.
func (s *Server) sayFollowers(ctx context.Context, at string, c channel, track string, out io.Writer) error {
	groups, err := list[group](ctx, s, at+"/groups", "groups", nil)
	if err != nil {
		return err
	}
	followed, ours := false, track == ""
	for _, g := range groups {
		if g.Channel != c.ID {
			continue
		}
		followed, ours = true, ours || g.Track == track
		state := "gets it"
		if !g.Updates {
			state = "has its updates turned off"
		}
		fmt.Fprintf(out, "group %s follows channel %s and %s\n", g.Name, c.Name, state)
	}
	if !followed {
		fmt.Fprintf(out, "no group follows channel %s, so no machine gets it\n", c.Name)
	} else if !ours {
		fmt.Fprintf(out, "no group with the track %s follows channel %s, so machines whose release has GROUP=%s get nothing\n", track, c.Name, track)
	}
	return nil
}
