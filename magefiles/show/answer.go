// Package show prints the results of targets: as text for people, or as JSON for programs.
package show

import (
	"bytes"
	"encoding/json"
	"io"
	"os"

	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Output takes the answer of a target.
type Output struct {
	io.Writer                   // for text
	json      bool              // the answer is a value for programs
	proofs    setup.ProofFormat // empty: as all answers
}

// To returns standard output in the format of FORMAT, and of PROOF_FORMAT for proofs.
func To(o setup.Options) Output {
	out := Text(os.Stdout)
	if o.Format == setup.JSON {
		out = Output{Writer: os.Stdout, json: true}
	}
	out.proofs = o.Proof.AnswerAs
	return out
}

// Text returns an output for people.
func Text(w io.Writer) Output { return Output{Writer: foreign.Writer(w)} }

// answer writes a value as JSON, or what text writes about it.
func (o Output) answer(value any, text func() error) error {
	if !o.json {
		return text()
	}
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	_, err := io.WriteString(o.Writer, foreign.JSON(encoded.String()))
	return err
}
