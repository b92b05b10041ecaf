//go:build nightly

package survey

import (
	"context"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// answer is what a message proposes, and how a recipe does that.
type answer struct {
	key      string
	proposed *regexp.Regexp
	give     func(r *recipe.Recipe, match []string)
}

// answers are all that messages propose. The first one that fits a line is taken.
var answers = []answer{
	{"reviewed", regexp.MustCompile(`write reviewed: \{(\S+): (\w+)\}`), func(r *recipe.Recipe, match []string) {
		r.Sources[0].Deb.Reviewed[match[1]] = match[2]
	}},
	{"special", regexp.MustCompile(`its install script gives (/\S+) a privilege`), func(r *recipe.Recipe, match []string) {
		r.Special[match[1]] = recipe.Special{}
	}},
	{"needs", regexp.MustCompile(`add needs: \[(oem-setup)\]`), func(r *recipe.Recipe, match []string) {
		r.Needs = []strictyaml.Text{{Value: match[1]}}
	}},
	{"move", regexp.MustCompile(`write move: \{(/\S+): (/\S+)\}`), func(r *recipe.Recipe, match []string) {
		r.Move[match[1]] = recipe.Path(match[2])
	}},
	{"prune", regexp.MustCompile(`which reads (/etc/[^ ,;]+).*; no image has files in /etc: move: .* or name it in prune:`), func(r *recipe.Recipe, match []string) {
		file := match[1]
		for path.Dir(file) != "/etc" {
			file = path.Dir(file)
		}
		r.Prune = append(r.Prune, recipe.Glob(file))
	}},
	{"packages", regexp.MustCompile(`calls \S+, which every Debian system has in its package (\S+) and the base has not`), func(r *recipe.Recipe, match []string) {
		r.Sources[0].Deb.Packages = append(r.Sources[0].Deb.Packages, strictyaml.Text{Value: match[1]})
	}},
	{"packages", regexp.MustCompile(`wants the interpreter (?:/usr/bin/)?perl,.* add a recipe or package with it`), func(r *recipe.Recipe, _ []string) {
		if !slices.ContainsFunc(r.Sources[0].Deb.Packages, func(p strictyaml.Text) bool { return p.Value == "perl-base" }) {
			r.Sources[0].Deb.Packages = append(r.Sources[0].Deb.Packages, strictyaml.Text{Value: "perl-base"})
		}
	}},
	{"keeps", regexp.MustCompile(`has (/\S+), which differs from the base's .* or add replaces: or keeps:`), func(r *recipe.Recipe, match []string) {
		r.Keeps = append(r.Keeps, recipe.Glob(match[1]))
	}},
	{"prune", regexp.MustCompile(`^\s*(/\S+) .*prune (?:or replace )?(?:it|the (?:link|file|script))`), func(r *recipe.Recipe, match []string) {
		r.Prune = append(r.Prune, recipe.Glob(strings.NewReplacer("[", `\[`, "{", `\{`, "*", `\*`, "?", `\?`).Replace(match[1])))
	}},
	// what needs a file beside the recipe, which nobody writes here
	{"files", regexp.MustCompile(`sysusers\.d|tmpfiles\.d|by a drop-in|set the same by a unit`), nil},
}

// An error about an install script quotes its commands between these.
const quoteBegins, quoteEnds = "is not done here:", "if the image can do without"

// isHead matches lines that say no more than what the next one is about.
var isHead = regexp.MustCompile(`^platform \S+:$|^$|^set it below special:`)

// keysFor returns the keys of a recipe that answer all of an error; none if something has no answer.
func keysFor(text string) (keys []string) {
	quoted := false
	for line := range strings.SplitSeq(text, "\n") {
		quoted = strings.HasSuffix(line, quoteBegins) || quoted && !strings.HasPrefix(line, quoteEnds)
		at := slices.IndexFunc(answers, func(a answer) bool { return a.proposed.MatchString(line) })
		switch {
		case quoted:
		case at >= 0:
			keys = append(keys, answers[at].key)
		case !isHead.MatchString(line):
			return nil
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// withAnswers gives a recipe all answers that its errors propose, until it builds or there are no more, and returns the last error.
func (s *surveyor) withAnswers(ctx context.Context, all recipe.Set, one *surveyedOne) error {
	name := recipeName(one.Name)
	r := *all[name]
	deb := *r.Sources[0].Deb
	deb.Reviewed = map[string]string{}
	r.Sources = []recipe.Source{{Line: r.Sources[0].Line, Deb: &deb}}
	r.Special, r.Move = map[string]recipe.Special{}, map[string]recipe.Path{}
	set := maps.Clone(all)
	set[name] = &r
	text := one.Error
	for {
		given := map[string]bool{}
		for line := range strings.SplitSeq(text, "\n") {
			for _, a := range answers {
				if match := a.proposed.FindStringSubmatch(line); match != nil {
					if a.give != nil && !given[line] {
						a.give(&r, match)
						given[line] = true
					}
					break
				}
			}
		}
		var err error
		if one.staged, err = s.build(ctx, set, name); err == nil || len(given) == 0 || err.Error() == text {
			return err
		}
		text = err.Error()
	}
}
