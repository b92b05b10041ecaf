package plan

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/near"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/oem/image/fit"
)

// Explanation says why one image is packed as it is.
type Explanation struct {
	Name         string
	Activations  int // platforms that activate it
	Chosen       Alternative
	Tightest     budget.Budget
	Alternatives []Alternative // fastest first; the chosen one is among them
}

// Alternative is an option of an image, with its cost.
type Alternative struct {
	fit.Option
	fit.Taken
	Read int64 // microseconds, over all platforms that activate the image
}

// Least is what all images take in /usr at least, however they are packed.
func (p *Planned) Least() size.Bytes { return p.options.Least }

// Explain packs one image at every rung and compares size and read time with the plan's choice.
func (p *Planned) Explain(ctx context.Context, name string) (*Explanation, error) {
	s := p.search
	at := slices.IndexFunc(s.items, func(i item) bool { return i.Name == name })
	if at < 0 {
		return nil, fmt.Errorf("no image %q; %s", name, near.Wanted(name, s.names()))
	}
	it := s.items[at]
	e := &Explanation{Name: name, Activations: it.Activations, Tightest: tightest(p.options.Budgets)}
	for o, option := range it.Options {
		taken, err := s.measure(ctx, at, o)
		if err != nil {
			return nil, err
		}
		read := s.planner.Calibration.Read(option.Rung, option.Unpacked) * int64(it.Activations)
		e.Alternatives = append(e.Alternatives, Alternative{option, taken, read})
	}
	e.Chosen = e.Alternatives[p.options.Decisions[at].Option]
	slices.SortStableFunc(e.Alternatives, func(a, b Alternative) int { return cmp.Compare(a.Read, b.Read) })
	return e, nil
}

func (s *search) names() []string {
	var names []string
	for _, it := range s.items {
		names = append(names, it.Name)
	}
	return names
}

// Instead says what an alternative would gain and lose.
func (e *Explanation) Instead(a Alternative) string {
	more, slower, left := a.Cost-e.Chosen.Cost, a.Read-e.Chosen.Read, e.Tightest.Left()
	switch {
	case a.Option == e.Chosen.Option:
		return "chosen"
	case more >= 0 && slower >= 0:
		return "worse: no smaller and no faster"
	case more <= 0 && slower >= 0:
		return fmt.Sprintf("slower by %s, smaller by %v", size.Milliseconds(slower), -more)
	case more > left:
		return fmt.Sprintf("faster by %s, but %v larger, %v more than is left", size.Milliseconds(-slower), more, more-left)
	}
	return fmt.Sprintf("faster by %s, but %v larger: other images gain more from that room", size.Milliseconds(-slower), more)
}

func tightest(budgets []budget.Budget) budget.Budget {
	return slices.MinFunc(budgets, func(a, b budget.Budget) int { return cmp.Compare(a.Left(), b.Left()) })
}
