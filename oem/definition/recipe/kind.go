package recipe

import (
	"reflect"
	"strings"
)

// Kind is what a kind of source says by itself: no network and no base is needed for it. The fields of Source are all kinds.
type Kind interface {
	// Name is the kind's key in a recipe.
	Name() string
	// Question says what the source leaves open to be resolved, in one line, and nothing for what is all there.
	// A lock file answers it, and is stale as soon as the recipe asks something else. Of packages of Debian, which bring all
	// their libraries where the base has none of Debian's (private), another question is asked then.
	Question(private bool) string
	// DependsOnBase tells whether what the base has decides what the source stands for.
	DependsOnBase(private bool) bool

	check(c *checker)
}

// kinds returns the kinds that are set.
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

// kind returns the source's kind; one that says nothing when it has none.
func (s *Source) kind() Kind {
	for _, kind := range s.kinds() {
		return kind
	}
	return none{}
}

// Kind names the source's kind, and is empty when it has none.
func (s *Source) Kind() string { return s.kind().Name() }

// Question is what the source leaves open (see Kind).
func (s *Source) Question(private bool) string { return s.kind().Question(private) }

// DependsOnBase tells whether what the base has decides what the source stands for.
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
