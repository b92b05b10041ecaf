// Package strictyaml reads YAML definitions into Go values and reports every mistake with its line.
//
// It is stricter than YAML: an unknown or repeated key, a value of the wrong kind, an empty value,
// an alias and a second document are mistakes.
//
// Fields are named by `yaml:"name"` tags; `yaml:"name,required"` makes a missing key a mistake.
// Values may be structs, slices, maps, strings, booleans, Text, and any type that implements encoding.TextUnmarshaler.
// A map's keys may be of any type that is read from text. A struct with tagged fields that implements
// encoding.TextUnmarshaler is read from text or from keys and values.
// A struct field of type Line receives the line that its struct begins on.
package strictyaml

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/oem/host/near"
)

// Line is the line of a file, counted from 1.
type Line int

// MarshalJSON leaves the line out, so that moving a definition down the file changes no cache key.
func (Line) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// Text is a string with its line, for checks that come after decoding.
type Text struct {
	Value string
	Line  Line
}

func (t Text) String() string { return t.Value }

// Mistake is one error at one line of a file.
type Mistake struct {
	File string
	Line Line
	Text string // what is wrong; what is wanted
}

func (m Mistake) String() string {
	return foreign.Line(fmt.Sprintf("%s:%d: %s", m.File, m.Line, m.Text))
}

// Mistakes are all mistakes of one or several files.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, mistake := range m {
		lines[i] = mistake.String()
	}
	return strings.Join(lines, "\n")
}

// Err returns the mistakes by file and line, or nil when there are none.
func (m Mistakes) Err() error {
	if len(m) == 0 {
		return nil
	}
	sorted := slices.Clone(m)
	slices.SortStableFunc(sorted, func(a, b Mistake) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return int(a.Line - b.Line)
	})
	return sorted
}

// Files calls each with every file of fsys that matches the pattern, in the order of names, and returns all mistakes.
// A file that cannot be read is a mistake.
func Files(fsys fs.FS, pattern string, each func(file string, content []byte) Mistakes) Mistakes {
	files, err := fs.Glob(fsys, pattern)
	if err != nil {
		return Mistakes{{pattern, 1, err.Error()}}
	}
	var mistakes Mistakes
	for _, file := range files {
		content, err := fs.ReadFile(fsys, file)
		if err != nil {
			mistakes = append(mistakes, Mistake{file, 1, err.Error()})
			continue
		}
		mistakes = append(mistakes, each(file, content)...)
	}
	return mistakes
}

// LooksLike tells whether a file's name ends as one that is meant to be YAML: .yaml in other letters or with up to two wrong ones. Copies that editors keep do not.
func LooksLike(name string) bool {
	suffix := strings.ToLower(path.Ext(name))
	return strings.HasPrefix(suffix, ".y") && !strings.HasSuffix(suffix, "~") && near.Distance(suffix, ".yaml") <= 2
}

// Decode fills the struct that into points to. The file name is only used in mistakes.
// Parts without mistakes are filled in even when others have some.
func Decode(file string, content []byte, into any) Mistakes {
	d := decoder{file: file, content: content}
	documents := yaml.NewDecoder(bytes.NewReader(content))
	var document, second yaml.Node
	switch err := documents.Decode(&document); {
	case errors.Is(err, io.EOF):
		d.add(1, "the file is empty; wanted keys and values")
		return d.mistakes
	case err != nil:
		d.addSyntax(err)
		return d.mistakes
	}
	switch err := documents.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.addSyntax(err)
	default:
		d.add(second.Line, "a second document; wanted one per file")
	}
	d.value("the file", document.Content[0], reflect.ValueOf(into).Elem())
	return d.mistakes
}

type decoder struct {
	file     string
	content  []byte
	mistakes Mistakes
}

func (d *decoder) add(line int, format string, args ...any) {
	d.mistakes = append(d.mistakes, Mistake{d.file, Line(max(line, 1)), fmt.Sprintf(format, args...)})
}

var yamlErrorLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// addSyntax adds an error of the YAML parser, whose text is "yaml: line N: text".
func (d *decoder) addSyntax(err error) {
	match := yamlErrorLine.FindStringSubmatch(err.Error())
	if match == nil {
		d.add(1, "%v", err)
		return
	}
	line, _ := strconv.Atoi(match[1])
	if tab := d.tab(); tab > 0 {
		d.add(tab, "not YAML: the line begins with a tab; wanted spaces")
		return
	}
	d.add(line, "not YAML: %s; wanted keys and values", strings.TrimPrefix(err.Error(), match[0]))
}

// tab returns the first line that is indented by a tab, which the YAML parser calls a character that cannot start any token; 0 if none is.
func (d *decoder) tab() int {
	number := 0
	for line := range bytes.Lines(d.content) {
		number++
		indentation, _, _ := bytes.Cut(line, bytes.TrimLeft(line, " \t"))
		if bytes.Contains(indentation, []byte("\t")) {
			return number
		}
	}
	return 0
}

// value reads a node into a value. Mistakes call it by its key.
func (d *decoder) value(key string, node *yaml.Node, into reflect.Value) {
	if node.Kind == yaml.AliasNode || node.Anchor != "" {
		d.add(node.Line, "an anchor or alias; wanted the value itself")
		return
	}
	if text, ok := into.Addr().Interface().(*Text); ok {
		text.Line = Line(node.Line)
		d.scalar(key, node, "one line of text", func() error { text.Value = node.Value; return nil })
		return
	}
	if unmarshaler, ok := into.Addr().Interface().(encoding.TextUnmarshaler); ok && (node.Kind != yaml.MappingNode || !hasKeys(into.Type())) {
		d.scalar(key, node, "one value", func() error { return unmarshaler.UnmarshalText([]byte(node.Value)) })
		return
	}
	switch into.Kind() {
	case reflect.Struct:
		d.structure(key, node, into)
	case reflect.Slice:
		d.list(key, node, into)
	case reflect.Map:
		d.mapping(key, node, into)
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.value(key, node, into.Elem())
	case reflect.String:
		d.scalar(key, node, "one line of text", func() error { into.SetString(node.Value); return nil })
	case reflect.Bool:
		d.scalar(key, node, "true or false", func() error {
			value, err := strconv.ParseBool(node.Value)
			into.SetBool(value)
			return err
		})
	default:
		panic(fmt.Sprintf("strictyaml: no rule for %v", into.Type()))
	}
}

// hasKeys tells whether a type can be read from keys and values: it has fields with yaml tags.
func hasKeys(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("yaml") != "" {
			return true
		}
	}
	return false
}

func (d *decoder) scalar(key string, node *yaml.Node, wanted string, set func() error) {
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		d.unfit(key, node, wanted)
		return
	}
	if err := foreign.Check(node.Value); err != nil {
		d.add(node.Line, "%s: %v; wanted one line of text", key, err)
		return
	}
	if err := set(); err != nil {
		d.add(node.Line, "%s", withKey(key, err.Error()))
	}
}

// withKey puts the key before a text that does not begin with it.
func withKey(key, text string) string {
	key = strings.TrimPrefix(key, "an item of ")
	if key == "a key" || strings.HasPrefix(text, key+" ") {
		return text
	}
	return key + ": " + text
}

func (d *decoder) list(key string, node *yaml.Node, into reflect.Value) {
	if node.Kind != yaml.SequenceNode {
		d.unfit(key, node, "a list")
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(node.Content), len(node.Content)))
	for i, item := range node.Content {
		d.value("an item of "+key, item, into.Index(i))
	}
}

func (d *decoder) mapping(name string, node *yaml.Node, into reflect.Value) {
	into.Set(reflect.MakeMap(into.Type()))
	d.pairs(name, node, func(key, value *yaml.Node) {
		index, element := reflect.New(into.Type().Key()).Elem(), reflect.New(into.Type().Elem()).Elem()
		d.value("a key", key, index)
		d.value(key.Value, value, element)
		into.SetMapIndex(index, element)
	})
}

// pairs calls each for the keys and values of a mapping.
func (d *decoder) pairs(name string, node *yaml.Node, each func(key, value *yaml.Node)) {
	if node.Kind != yaml.MappingNode {
		d.unfit(name, node, "keys and values")
		return
	}
	seen := map[string]int{}
	for i := 0; i < len(node.Content); i += 2 {
		key := node.Content[i]
		if first, repeated := seen[key.Value]; repeated {
			d.add(key.Line, "key %q is already on line %d; wanted once", key.Value, first)
			continue
		}
		seen[key.Value] = key.Line
		each(key, node.Content[i+1])
	}
}

func (d *decoder) structure(of string, node *yaml.Node, into reflect.Value) {
	fields, missing := map[string]reflect.Value{}, map[string]bool{}
	var names []string
	for i := range into.NumField() {
		if into.Field(i).Type() == reflect.TypeFor[Line]() {
			into.Field(i).SetInt(int64(node.Line))
			continue
		}
		name, option, _ := strings.Cut(into.Type().Field(i).Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		fields[name], names = into.Field(i), append(names, name)
		if option == "required" {
			missing[name] = true
		}
	}
	d.pairs(of, node, func(key, value *yaml.Node) {
		field, known := fields[key.Value]
		if !known {
			d.add(key.Line, "unknown key %q; %s", key.Value, near.Wanted(key.Value, names))
			return
		}
		delete(missing, key.Value)
		d.value(key.Value, value, field)
	})
	if node.Kind != yaml.MappingNode {
		return
	}
	for _, name := range names {
		if missing[name] {
			d.add(node.Line, "the key %q is missing; add it", name)
		}
	}
}

// unfit adds the mistake that a key has a value of another kind than wanted, or none.
func (d *decoder) unfit(key string, node *yaml.Node, wanted string) {
	if node.Tag == "!!null" {
		d.add(node.Line, "%s is empty; write %s", key, wanted)
		return
	}
	d.add(node.Line, "%s is %s; wanted %s", key, kindName(node), wanted)
}

func kindName(node *yaml.Node) string {
	switch node.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "keys and values"
	}
	return strconv.Quote(node.Value)
}
