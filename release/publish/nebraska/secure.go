package nebraska

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// running is how many machines of a group run a version; those that have asked for an update within the last day.
type running struct {
	Version   string `json:"version"`
	Instances int    `json:"instances"`
}

// floor is the body of a request that makes a package a floor of a channel: a version that no machine skips.
type floor struct {
	Reason string `json:"floor_reason"`
}

// secure refuses an update from one version for a channel with machines of other versions, which would refuse it, again and
// again. Machines of older versions that come later are to get that version first: it becomes a floor of the channel.
func (s *Server) secure(ctx context.Context, at string, c channel, u *Update, apply bool, out io.Writer) error {
	packages, err := list[pkg](ctx, s, at+"/packages", "packages", url.Values{"searchVersion": {u.From}})
	if err != nil {
		return err
	}
	i := slices.IndexFunc(packages, func(p pkg) bool { return p.ID == c.Package && p.Version == u.From })
	if i < 0 {
		return fmt.Errorf("channel %s is not at %s; point it there first, and wait for its machines, or leave DELTA out for the whole update", c.Name, u.From)
	}
	groups, err := list[group](ctx, s, at+"/groups", "groups", nil)
	if err != nil {
		return err
	}
	var others []string
	for _, g := range groups {
		if g.Channel != c.ID {
			continue
		}
		var versions []running
		if err := s.ask(ctx, http.MethodGet, at+"/groups/"+url.PathEscape(g.ID)+"/version_breakdown", nil, &versions); err != nil {
			return err
		}
		for _, r := range versions {
			if r.Version != u.From && r.Instances > 0 {
				others = append(others, fmt.Sprintf("%d of group %s run %s", r.Instances, g.Name, r.Version))
			}
		}
	}
	if len(others) > 0 {
		return fmt.Errorf("only machines that run %s can apply this update; wait for the others, move them to a group on another channel, "+
			"or leave DELTA out for the whole update: %s", u.From, strings.Join(others, ", "))
	}
	path := "/api/channels/" + url.PathEscape(c.ID) + "/floors/" + url.PathEscape(c.Package)
	body := floor{"the update to " + u.Version + " is from this version only"}
	if !apply {
		return show(out, http.MethodPut, path, body)
	}
	var answer any
	if err := s.ask(ctx, http.MethodPut, path, body, &answer); err != nil {
		return fmt.Errorf("make %s a floor of channel %s, so that older machines get it first: %w", u.From, c.Name, err)
	}
	_, err = fmt.Fprintf(out, "%s is a floor of channel %s, so machines of older versions get it first\n", u.From, c.Name)
	return err
}
