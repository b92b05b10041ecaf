package care

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem/definition"
	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Check reads all recipes, platforms and lock files of a checkout. It returns the number of platforms, and the mistakes.
// Lock files are only looked at when the definitions have none.
func Check(checkout, baseID string) (int, strictyaml.Mistakes, error) {
	platforms, err := definition.Platforms(rooted.Files(checkout))
	var mistakes strictyaml.Mistakes
	if errors.As(err, &mistakes) {
		return len(platforms), mistakes, nil
	}
	if err != nil {
		return 0, nil, err
	}
	var stale *StaleLocksError
	if err = CheckLocks(checkout, baseID); !errors.As(err, &stale) {
		return len(platforms), nil, err
	}
	for _, r := range stale.Recipes {
		mistakes = append(mistakes, strictyaml.Mistake{File: r.File, Line: 1, Text: "no up-to-date lock file; run " + lock.Command(r.Name.Value)})
	}
	return len(platforms), mistakes, nil
}

// WriteMistakes writes mistakes for programs: as a list in JSON, or as SARIF, which editors and code reviews show at their lines.
func WriteMistakes(out io.Writer, format setup.Format, mistakes strictyaml.Mistakes) error {
	var document any
	switch format {
	case setup.JSON:
		document = list(mistakes)
	case setup.SARIF:
		document = sarif(mistakes)
	default:
		return fmt.Errorf("FORMAT=%s; wanted json or sarif", format)
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}

// finding is a mistake in JSON.
type finding struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

func list(mistakes strictyaml.Mistakes) []finding {
	findings := make([]finding, len(mistakes)) // an empty list is one, too
	for i, m := range mistakes {
		findings[i] = finding{m.File, int(m.Line), m.Text}
	}
	return findings
}

type object = map[string]any

// sarif returns the mistakes in the Static Analysis Results Interchange Format, version 2.1.0 (OASIS).
func sarif(mistakes strictyaml.Mistakes) object {
	results := make([]object, len(mistakes))
	for i, m := range mistakes {
		place := object{"artifactLocation": object{"uri": m.File}, "region": object{"startLine": int(m.Line)}}
		results[i] = object{
			"ruleId": "definition", "level": "error", "message": object{"text": m.Text},
			"locations": []object{{"physicalLocation": place}},
		}
	}
	driver := object{
		"name":  "recipe:check",
		"rules": []object{{"id": "definition", "shortDescription": object{"text": "A recipe or platform has a mistake."}}},
	}
	return object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []object{{"tool": object{"driver": driver}, "results": results}},
	}
}
