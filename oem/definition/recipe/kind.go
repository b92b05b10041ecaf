package recipe

import (
	"reflect"
	"strings"
)

// Kind is what a source knows without network and base. The fields of Source are the kinds.
type Kind interface {
	// Name is the kind's key in a recipe.
	Name() string
	// Question is what has to be looked up for the source, in one line; empty for sources that need no lookup.
	// It identifies the source in the lock file, so the entry is stale as soon as the question changes. Debian packages
	// that bring all their libraries (private), for bases other than Debian, have a question of their own.
	Question(private bool) string
	// DependsOnBase tells whether the answer depends on the packages of the base.
	DependsOnBase(private bool) bool

	check(c *checker)
}

// kinds returns the kinds that are set in the source.
func (s *Source) kinds() (set []Kind) {
	fields := reflect.ValueOf(s).Elem()
	for i := range fields.NumField() {
		if kind, is := fields.Field(i).Interface().(Kind); is && !fields.Field(i).IsNil() {
			set = append(set, kind)
		}
	}
	return set
}

// kindNames are the names of all kinds.
func kindNames() (names []string) {
	fields := reflect.ValueOf(Source{})
	for i := range fields.NumField() {
		if kind, is := fields.Field(i).Interface().(Kind); is {
			names = append(names, kind.Name())
		}
	}
	return names
}

// kind returns the source's kind, or none.
func (s *Source) kind() Kind {
	for _, kind := range s.kinds() {
		return kind
	}
	return none{}
}

// Kind is the name of the source's kind, or empty.
func (s *Source) Kind() string { return s.kind().Name() }

// Question is what has to be looked up for the source (see Kind).
func (s *Source) Question(private bool) string { return s.kind().Question(private) }

// DependsOnBase tells whether the answer depends on the packages of the base.
func (s *Source) DependsOnBase(private bool) bool { return s.kind().DependsOnBase(private) }

// none is the kind of a source without one.
type none struct{}

func (none) Name() string            { return "" }
func (none) Question(bool) string    { return "" }
func (none) DependsOnBase(bool) bool { return false }
func (none) check(*checker)          {}

func (c *checker) source(s Source) {
	kinds := s.kinds()
	for _, kind := range kinds {
		kind.check(c)
	}
	if len(kinds) != 1 {
		c.add(s.Line, "a source with %d kinds; wanted one of %s", len(kinds), strings.Join(kindNames(), ", "))
	}
}

// question joins the words of a question.
func question(k Kind, words ...string) string {
	return strings.Join(append([]string{k.Name()}, words...), " ")
}
