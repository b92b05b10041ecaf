package show

import (
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/release/plan"
)

// Explained says why one image is packed as it is.
type Explained struct {
	Image        string   `json:"image" doc:"its name"`
	Platforms    int      `json:"platforms" doc:"how many activate it"`
	Tightest     string   `json:"tightest_budget" doc:"its name"`
	Left         int64    `json:"left_bytes" doc:"in that budget"`
	Alternatives []Choice `json:"alternatives" doc:"fastest first; one of them is chosen"`
}

// Choice is one way to pack an image.
type Choice struct {
	Rung      string     `json:"rung"`
	Placement string     `json:"placement" doc:"usr, oem-partition or both"`
	Size      size.Bytes `json:"bytes"`
	Cost      size.Bytes `json:"in_usr_bytes" doc:"what the file system loses"`
	Read      int64      `json:"cold_read_microseconds" doc:"at boots of all platforms that activate it"`
	Chosen    bool       `json:"chosen"`
	Why       string     `json:"why" doc:"compared with the chosen one, for people"`
}

// Explanation prints why one image is packed as it is, and its alternatives.
func Explanation(out Output, e *plan.Explanation) error {
	value := Explained{Image: e.Name, Platforms: e.Activations, Tightest: e.Tightest.Name, Left: int64(e.Tightest.Left())}
	for _, a := range e.Alternatives {
		value.Alternatives = append(value.Alternatives, Choice{
			a.Rung.String(), string(a.Placement), a.Size, a.Cost, a.Read, a.Option == e.Chosen.Option, e.Instead(a),
		})
	}
	return out.answer(value, func() error { return writeExplanation(out, e) })
}

func writeExplanation(out io.Writer, e *plan.Explanation) error {
	fmt.Fprintf(out, "%s is packed as %v, %s: %v in /usr, %s of cold reads at boots of %s.\n%s is the tightest budget; it has %v left.\n\n",
		e.Name, e.Chosen.Rung, e.Chosen.Placement, e.Chosen.Cost, size.Milliseconds(e.Chosen.Read), counted(e.Activations, "platform"),
		e.Tightest.Name, e.Tightest.Left())
	t := table.New(out, "rung", "placement", "size", "in /usr", "cold read", "compared with the chosen one")
	for _, a := range e.Alternatives {
		t.Row(a.Rung, a.Placement, a.Size, a.Cost, size.Milliseconds(a.Read), e.Instead(a))
	}
	return t.Flush()
}

// counted returns a number with its noun, in singular or plural.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
