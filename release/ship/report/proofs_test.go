package report

import (
	"bytes"
	"strings"
	"testing"
)

func someProofs() []Proof {
	return []Proof{{
		Title: "Proof", Base: "trixie 1.0.0", Accel: "tcg",
		Machines: []Proven{
			{Platform: "azure", Images: 3, Seconds: 20.4, Held: 11, Asserted: 11},
			{Platform: "gce", Step: "after </section>", Held: 10, Asserted: 11, Wrong: []Objection{{"no unit failed", hostile}}},
			{Platform: "vmware", Wrong: []Objection{{Says: "no report"}}},
		},
	}}
}

// Proofs go into their section, and what is outside of it stays, so that the page without them can be had again.
func TestProofsComeAndGo(t *testing.T) {
	_, m := releases()
	var page bytes.Buffer
	if err := HTML(&page, m, nil); err != nil {
		t.Fatal(err)
	}
	with, err := WithProofs(page.Bytes(), someProofs())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"11 of 11", "20 s", "after &lt;/section&gt;", "2 of them failed", "no unit failed", "no answer</mark> no report", "&lt;script&gt;alert"} {
		if !strings.Contains(string(with), want) {
			t.Errorf("it lacks %s", want)
		}
	}
	if without, err := WithProofs(with, nil); err != nil || !bytes.Equal(without, page.Bytes()) {
		t.Errorf("without proofs it is not the page that it was, %v", err)
	}
	if _, err := WithProofs([]byte("<p>"), nil); err == nil {
		t.Error("a page without a section was taken")
	}
}

func TestProofsMarkdown(t *testing.T) {
	var text bytes.Buffer
	if err := ProofsMarkdown(&text, someProofs()); err != nil {
		t.Fatal(err)
	}
	golden(t, "proofs.md", text.Bytes())
}
