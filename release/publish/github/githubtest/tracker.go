package githubtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Item is an issue, or a pull request, which has a head and a base.
type Item struct {
	Number int    `json:"number"`
	Title  string `json:"title"`
	Body   string `json:"body"`
	State  string `json:"state"`
	Head   string `json:"-"` // a branch
	Base   string `json:"-"`
	URL    string `json:"html_url"`
}

// listed is an item as it is listed among issues.
type listed struct {
	Item
	PullRequest *struct{} `json:"pull_request,omitempty"`
}

// Items returns all issues and pull requests.
func (s *Server) Items() []Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Item
	for _, i := range s.items {
		list = append(list, *i)
	}
	return list
}

// AddItem puts an issue or a pull request on the server.
func (s *Server) AddItem(i Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addItem(i)
}

func (s *Server) addItem(i Item) *Item {
	i.Number = len(s.items) + 1
	i.State = "open"
	i.URL = fmt.Sprintf("%s/%s/issues/%d", s.URL, Repository, i.Number)
	s.items = append(s.items, &i)
	return &i
}

// track answers requests for issues and pull requests.
func (s *Server) track(r *http.Request, kind, number string) (any, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pulls := kind == "pulls"
	switch {
	case r.Method == http.MethodGet && number == "":
		return s.listItems(r, pulls), 200
	case r.Method == http.MethodPost && number == "":
		return s.createItem(r, pulls)
	case r.Method == http.MethodPatch && number != "":
		n, _ := strconv.Atoi(number)
		if n < 1 || n > len(s.items) || pulls && s.items[n-1].Head == "" {
			return refusal{status: 404, message: "Not Found"}, 0
		}
		changed := *s.items[n-1]
		if refused := decodeItem(r, &changed); refused != nil {
			return *refused, 0
		}
		*s.items[n-1] = changed
		return changed, 200
	}
	return refusal{status: 404, message: "Not Found"}, 0
}

// listItems has the newest first.
func (s *Server) listItems(r *http.Request, pulls bool) page {
	query := r.URL.Query()
	var list []listed
	for _, i := range slices.Backward(s.items) {
		matches := (query.Get("head") == "" || query.Get("head") == "owner:"+i.Head) && (query.Get("base") == "" || query.Get("base") == i.Base)
		if i.State != query.Get("state") || pulls && (i.Head == "" || !matches) {
			continue
		}
		one := listed{Item: *i}
		if i.Head != "" {
			one.PullRequest = &struct{}{}
		}
		list = append(list, one)
	}
	return paged(s, r, list)
}

func (s *Server) createItem(r *http.Request, pull bool) (any, int) {
	var made Item
	if refused := decodeItem(r, &made); refused != nil {
		return *refused, 0
	}
	if !pull {
		made.Head, made.Base = "", ""
		return *s.addItem(made), 201
	}
	switch taken := func(i *Item) bool { return i.State == "open" && i.Head == made.Head && i.Base == made.Base }; {
	case made.Head == "" || s.Branches == nil || !s.Branches(made.Head):
		return refusal{status: 422, message: "Validation Failed", code: "invalid", field: "head"}, 0
	case made.Base == "" || !s.Branches(made.Base):
		return refusal{status: 422, message: "Validation Failed", code: "invalid", field: "base"}, 0
	case slices.ContainsFunc(s.items, taken):
		return refusal{status: 422, message: "A pull request already exists for owner:" + made.Head}, 0
	}
	return *s.addItem(made), 201
}

func decodeItem(r *http.Request, to *Item) *refusal {
	var fields struct{ Title, Body, State, Head, Base *string }
	if err := json.NewDecoder(r.Body).Decode(&fields); err != nil {
		return &refusal{status: 400, message: "Problems parsing JSON"}
	}
	set(&to.Title, fields.Title)
	set(&to.Body, fields.Body)
	set(&to.State, fields.State)
	set(&to.Head, fields.Head)
	set(&to.Base, fields.Base)
	switch {
	case strings.TrimSpace(to.Title) == "":
		return &refusal{status: 422, message: "Validation Failed", code: "missing_field", field: "title"}
	case len([]rune(to.Body)) > 65536:
		return &refusal{status: 422, message: "body is too long (maximum is 65536 characters)"}
	}
	return nil
}
