package report

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/foreign"
)

// Proof is what machines showed of a release.
type Proof struct {
	Title    string
	Base     string // with its version
	Accel    string // how their instructions were run
	Machines []Proven
}

// Proven is what one machine showed.
type Proven struct {
	Platform string
	Step     string // of a story that is told on one disk
	Images   int    // that it merges
	Seconds  float64
	Held     int // of what was asserted
	Asserted int
	Wrong    []Objection
}

// Objection is a failed assertion, or without an assertion that the machine did not answer.
type Objection struct{ Assertion, Says string }

// Failed counts the machines that failed.
func (p Proof) Failed() int {
	n := 0
	for _, m := range p.Machines {
		if len(m.Wrong) > 0 {
			n++
		}
	}
	return n
}

// ProofsMarkdown writes proofs as GitHub's Markdown.
func ProofsMarkdown(w io.Writer, proofs []Proof) error {
	md := markdown{Writer: bufio.NewWriter(w)}
	for _, p := range proofs {
		md.heading("### %s", p.Title)
		md.line("%d machines of %s (%s), %d of them failed.\n", len(p.Machines), foreign.Markdown(p.Base), p.Accel, p.Failed())
		md.table("platform", ">images", ">boot", ">asserted", "")
		for _, m := range p.Machines {
			var wrong []string
			for _, o := range m.Wrong {
				if o.Assertion == "" {
					wrong = append(wrong, foreign.Code(o.Says))
				} else {
					wrong = append(wrong, fmt.Sprintf("not so: %s: %s", o.Assertion, foreign.Code(o.Says)))
				}
			}
			name := foreign.Code(m.Platform)
			if m.Step != "" {
				name += ", " + m.Step
			}
			md.row(name, fmt.Sprint(m.Images), fmt.Sprintf("%.0f s", m.Seconds), fmt.Sprintf("%d of %d", m.Held, m.Asserted), strings.Join(wrong, "<br>"))
		}
	}
	return md.Flush()
}

// The section of a page that proofs are in. They come later than the page, so it is written without them. Nothing that is
// escaped can end it.
const (
	proofsBegin = `<section id="proofs">`
	proofsEnd   = `</section>`
)

var proofsTemplate = template.Must(template.Must(documentTemplate.Clone()).New("proofs").Parse(`{{range .}}<h3>{{.Title}} <span>{{len .Machines}} machines of {{.Base}}, {{.Accel}}; {{with .Failed}}{{.}} of them failed{{else}}none of them failed{{end}}</span></h3>
<table class="changed">
<thead><tr><th>Platform</th><th>step</th><th class="n">images</th><th class="n">boot</th><th class="n">asserted</th></tr></thead>
<tbody>{{range .Machines}}<tr><th scope="row">{{.Platform}}</th><td data-l="">{{.Step}}{{range .Wrong}}<br><mark class="removed">{{or .Assertion "no answer"}}</mark> {{.Says}}{{end}}</td><td class="n" data-l="images">{{.Images}}</td><td class="n" data-l="boot">{{printf "%.0f s" .Seconds}}</td><td class="n" data-l="asserted">{{.Held}} of {{.Asserted}}</td></tr>
{{end}}</tbody>
</table>
{{else}}{{template "unproven"}}
{{end}}`))

// WithProofs returns a page that HTML has written with these proofs, instead of those that it has.
func WithProofs(page []byte, proofs []Proof) ([]byte, error) {
	before, rest, found := bytes.Cut(page, []byte(proofsBegin))
	_, after, ends := bytes.Cut(rest, []byte(proofsEnd))
	if !found || !ends {
		return nil, errors.New("the page has no section for proofs; make the release again")
	}
	var section bytes.Buffer
	section.WriteString(proofsBegin + "\n<h2>Proofs</h2>\n")
	if err := proofsTemplate.Execute(&section, proofs); err != nil {
		return nil, err
	}
	section.WriteString(proofsEnd)
	return bytes.Join([][]byte{before, section.Bytes(), after}, nil), nil
}
