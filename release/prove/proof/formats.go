package proof

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/foreign"
)

// answers is the assertion that a machine fails that says nothing.
const answers = "the machine answers"

// asserted are the machine's outcomes, with one more where something kept it from answering.
func (m Machine) asserted() []Outcome {
	if m.Error == "" {
		return m.Outcomes
	}
	return append([]Outcome{{answers, m.Error}}, m.Outcomes...)
}

// name is the machine's, among those of a proof.
func (m Machine) name() string {
	if m.Step == "" {
		return m.Platform
	}
	return m.Platform + ", " + m.Step
}

// WriteTAP writes the proof in the Test Anything Protocol, version 13: a test for each assertion of a machine.
func (p *Proof) WriteTAP(out io.Writer) error {
	var text strings.Builder
	n := 0
	for _, m := range p.Machines {
		for _, o := range m.asserted() {
			n++
			ok := "ok"
			if o.Error != "" {
				ok = "not ok"
			}
			// Behind a number sign is what to do with the test.
			fmt.Fprintf(&text, "%s %d - %s\n", ok, n, strings.NewReplacer(`\`, `\\`, "#", `\#`).Replace(foreign.Line(m.name()+": "+o.Assertion)))
			for line := range strings.Lines(o.Error) {
				fmt.Fprintf(&text, "# %s\n", foreign.Line(strings.TrimRight(line, "\r\n")))
			}
		}
	}
	_, err := fmt.Fprintf(out, "TAP version 13\n1..%d\n%s", n, &text)
	return err
}

// The elements of JUnit's XML that all readers know.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Time     string      `xml:"time,attr"` // seconds
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Failure *junitFailure `xml:"failure"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"` // the first line
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes the proof as XML of JUnit: a suite for each machine, with a test for each assertion.
func (p *Proof) WriteJUnit(out io.Writer) error {
	all := junitSuites{Name: cmp.Or(p.Base, "release") + " " + p.Version + " " + p.Arch}
	for _, m := range p.Machines {
		suite := junitSuite{Name: foreign.Line(m.name()), Time: fmt.Sprintf("%.3f", m.Seconds)}
		for _, o := range m.asserted() {
			test := junitCase{Class: foreign.Line(m.Platform), Name: foreign.Line(o.Assertion)}
			if o.Error != "" {
				first, _, _ := strings.Cut(o.Error, "\n")
				test.Failure = &junitFailure{foreign.Line(first), foreign.Text(o.Error)}
				suite.Failures++
			}
			suite.Cases = append(suite.Cases, test)
		}
		suite.Tests = len(suite.Cases)
		all.Tests, all.Failures = all.Tests+suite.Tests, all.Failures+suite.Failures
		all.Suites = append(all.Suites, suite)
	}
	encoded, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s%s\n", xml.Header, encoded)
	return err
}
