package show

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/parity"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/release/care"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/doctor"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/setup"
)

var update = flag.Bool("update", false, "write the formats of answers into release/README.md")

func cloud(id string, missing map[string]string, initrd *platform.Initrd) *platform.Platform {
	return &platform.Platform{
		ID: strictyaml.Text{Value: id}, Name: "N", KernelID: strictyaml.Text{Value: id}, Arches: arch.All[:],
		RecipeNames: []strictyaml.Text{{Value: "tool"}}, Missing: missing, Initrd: initrd,
	}
}

func TestPlatforms(t *testing.T) {
	platforms := []*platform.Platform{
		cloud("a", map[string]string{"agent": "not to be had", "other": "gone"}, nil),
		cloud("b", nil, &platform.Initrd{}),
		cloud("c", nil, &platform.Initrd{RecipeNames: []strictyaml.Text{{Value: "x"}, {Value: "y"}}}),
	}
	platforms[0].Extras = &platform.Extras{RecipeNames: []strictyaml.Text{{Value: "more"}}}
	var got bytes.Buffer
	if err := Platforms(Output{Writer: &got}, platforms); err != nil {
		t.Fatal(err)
	}
	want := `ID  NAME  KERNEL ID  ARCHITECTURES  RECIPES  EXTRAS  INITRAMFS  MISSING
a   N     a          amd64 arm64    tool     more    -          agent other
b   N     b          amd64 arm64    tool     -       all        -
c   N     c          amd64 arm64    tool     -       x y        -

Missing tools:
  a: agent: not to be had
  a: other: gone
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
	got.Reset()
	if err := Platforms(Output{Writer: &got, json: true}, platforms); err != nil {
		t.Fatal(err)
	}
	var clouds []Cloud
	if err := json.Unmarshal(got.Bytes(), &clouds); err != nil {
		t.Fatalf("%v: %s", err, &got)
	}
	if strings.Contains(got.String(), "null") {
		t.Errorf("null in %s", &got)
	}
	if len(clouds) != 3 || clouds[0].Missing["other"] != "gone" || cmp.Diff([]string{"tool"}, clouds[1].Initramfs) != "" || len(clouds[2].Initramfs) != 2 {
		t.Errorf("answer is %+v", clouds)
	}
}

// TestAnswersAreValues says that nothing but one JSON value is written for programs, whatever is in it, and that what fails still fails.
func TestAnswersAreValues(t *testing.T) {
	failed := &proof.Proof{Version: "1.0.0", Machines: []proof.Machine{{
		Platform: "azure", Console: "##[group]\u202e\x7f\u0085<b>&\x1b[2J", Outcomes: []proof.Outcome{{Assertion: "merged", Error: "no"}},
	}}}
	for name, write := range map[string]func(Output) error{
		"proof": func(out Output) error { return Proof(out, failed) },
		"diff": func(out Output) error {
			return Diff(out, &care.RecipeDiff{Recipe: "a", Inputs: []care.InputChange{{Is: &input.Input{Name: "x"}}}})
		},
		"bumped": func(out Output) error { return Bumped(out, nil, nil) },
		"images": func(out Output) error { return Images(out, nil) },
		"initrds": func(out Output) error {
			return Initrds(out, []manifest.Initrd{{Platform: "a", Files: []manifest.File{{Name: "f"}}}})
		},
		"base": func(out Output) error { return baseFacts(out, BaseFacts{ID: "trixie"}) },
		"fit": func(out Output) error {
			return Plan(out, &manifest.Manifest{Plan: manifest.Plan{Budgets: []budget.Budget{{Name: "usr", Used: 3}}}})
		},
		"release":  func(out Output) error { return Release(out, &manifest.Manifest{Schema: manifest.Schema}, "_output") },
		"diagnose": func(out Output) error { return Doctor(out, &doctor.Diagnosis{Problems: []string{"full"}}) },
	} {
		var got bytes.Buffer
		err := write(Output{Writer: &got, json: true})
		if fails := name == "proof" || name == "diagnose"; fails != (err != nil) {
			t.Errorf("%s: error is %v", name, err)
		}
		decoder := json.NewDecoder(bytes.NewReader(got.Bytes()))
		var value any
		if err := errors.Join(decoder.Decode(&value)); err != nil || value == nil || decoder.More() {
			t.Errorf("%s: wrote %q, which is not one value: %v", name, &got, err)
		}
		if name == "proof" {
			var back proof.Proof
			if err := json.Unmarshal(got.Bytes(), &back); err != nil || cmp.Diff(failed, &back) != "" {
				t.Errorf("value is changed: %v %s", err, cmp.Diff(failed, &back))
			}
			if strings.Contains(got.String(), "##[") || strings.ContainsAny(got.String(), "\u202e\x7f\u0085\x1b") {
				t.Errorf("not safe to print: %q", &got)
			}
		}
	}
}

// TestProofFormats says that a proof is printed in the format that is asked for, whatever other answers have, and fails all the same.
func TestProofFormats(t *testing.T) {
	failed := &proof.Proof{Machines: []proof.Machine{{Platform: "azure", Error: "no report"}}}
	for format, want := range map[setup.ProofFormat]string{"": "PLATFORM", setup.TAP: "TAP version 13\n1..1\nnot ok 1 ", setup.JUnit: "<?xml "} {
		for _, json := range []bool{false, true} {
			if format == "" && json {
				want = "{"
			}
			var got bytes.Buffer
			if err := Proof(Output{&got, json, format}, failed); err == nil || !strings.HasPrefix(got.String(), want) {
				t.Errorf("%s: error is %v; wanted one, and %q in %s", format, err, want, &got)
			}
		}
	}
	t.Setenv("PROOF_FORMAT", "xml")
	if _, err := setup.FromEnvironment("."); err == nil || !strings.Contains(err.Error(), "wanted tap or junit") {
		t.Errorf("error is %v", err)
	}
	t.Setenv("PROOF_FORMAT", "junit")
	if o, err := setup.FromEnvironment("."); err != nil || To(o).proofs != setup.JUnit {
		t.Errorf("PROOF_FORMAT is %v, %v", To(o), err)
	}
}

// formats are the answers of targets.
var formats = []struct {
	targets string
	value   any
}{
	{"`platform:list`", []Cloud{}},
	{"`platform:parity`", []parity.Row{}},
	{"`base:show`", BaseFacts{}},
	{"`build`, `build:platform`", []Built{}},
	{"`fit`", Planned{}},
	{"`fit:explain`", Explained{}},
	{"`release`, `compose`, `ci:combine`", manifest.Manifest{}},
	{"`initrd`, `initrd:platform`", []InitrdFile{}},
	{"`prove` and all of `prove:` but `prove:faults`, `ci:prove`, `ci:proof`", proof.Proof{}},
	{"`platform:boot`", Tried{}},
	{"`recipe:show`", Shown{}},
	{"`recipe:diff`", care.RecipeDiff{}},
	{"`recipe:bump`", []care.Bumped{}},
	{"`release:slots`", []SlotFacts{}},
	{"`release:doctor`", doctor.Diagnosis{}},
}

// elsewhere are types that are documented where they are.
var elsewhere = map[string]string{
	"manifest.": "a [manifest](format/manifest/manifest.go)",
	"proof.":    "a [proof](prove/proof/proof.go)",
	"doctor.":   "a [diagnosis](prove/doctor/doctor.go)",
	"input.":    "an [input](../oem/source/input/input.go)",
}

// kind names what a value is.
func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kind(t.Elem())
	case reflect.Slice:
		return "list; each: " + kind(t.Elem())
	case reflect.Map:
		return "object; each value: " + kind(t.Elem())
	case reflect.Int, reflect.Int64, reflect.Float64:
		return "number"
	case reflect.Bool:
		return "true or false"
	case reflect.Struct:
		for prefix, link := range elsewhere {
			if name, is := strings.CutPrefix(t.String(), prefix); is {
				return fmt.Sprintf("`%s` of %s", name, link)
			}
		}
		if t.String() == "time.Time" {
			return "text, as in RFC 3339"
		}
		return "object"
	}
	return "text"
}

// fields describes the fields of the objects in a value.
func fields(out *strings.Builder, t reflect.Type, indent string) {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if !strings.HasSuffix(kind(t), "object") {
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, omitted := strings.CutSuffix(f.Tag.Get("json"), ",omitempty")
		if name == "" {
			continue
		}
		fmt.Fprintf(out, "%s* `%s` (%s", indent, name, kind(f.Type))
		if omitted {
			out.WriteString("; may be missing")
		}
		out.WriteString(")")
		if doc := f.Tag.Get("doc"); doc != "" {
			out.WriteString(": " + doc)
		}
		out.WriteString("\n")
		fields(out, f.Type, indent+"  ")
	}
}

// TestFormatsInTheREADME compares the list in release/README.md with the types that targets answer with. With -update it writes
// the list anew.
func TestFormatsInTheREADME(t *testing.T) {
	const file, begin, end = "../../release/README.md", "<!-- answers -->\n", "<!-- end of answers -->\n"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(content), begin)
	list, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		t.Fatalf("%s has no list between %q and %q", file, begin, end)
	}
	var text strings.Builder
	for _, f := range formats {
		fmt.Fprintf(&text, "* %s: %s\n", f.targets, kind(reflect.TypeOf(f.value)))
		fields(&text, reflect.TypeOf(f.value), "  ")
	}
	want := text.String()
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("go test ./magefiles/show -run TestFormatsInTheREADME -update rewrites it: %s", diff)
	}
}
