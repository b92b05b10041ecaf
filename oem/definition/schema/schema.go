// Package schema writes JSON Schemas for what strictyaml reads, so that editors know keys, values and what they mean.
//
// The schema of a Go type has exactly the type's keys and required keys. Descriptions are the comments in the Go source.
// A type with a method JSONSchema adds further keywords, such as a pattern for the texts that it accepts.
package schema

import (
	"encoding"
	"encoding/json"
	"fmt"
	"io/fs"
	"reflect"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// Draft is the version of JSON Schema that is written.
const Draft = "https://json-schema.org/draft/2020-12/schema"

// keywords are what a type adds to its schema.
type keywords interface{ JSONSchema() map[string]any }

type object = map[string]any

// For returns the schema of a type. Comments are read from source, a checkout.
func For(t reflect.Type, source fs.FS, title string) ([]byte, error) {
	w := writer{comments: comments{source: source, packages: map[string]docs{}}, definitions: object{}}
	schema, err := w.structure(t)
	if err != nil {
		return nil, err
	}
	schema["$schema"], schema["title"] = Draft, title
	if len(w.definitions) > 0 {
		schema["$defs"] = w.definitions
	}
	written, err := json.MarshalIndent(schema, "", "  ") // keys in the order of their names
	return append(written, '\n'), err
}

type writer struct {
	comments    comments
	definitions object
}

// value returns the schema of a type's values; the cases are those of strictyaml's decoder.
func (w *writer) value(t reflect.Type) (object, error) {
	if t == reflect.TypeFor[strictyaml.Text]() || reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return w.named(t, text())
	}
	switch t.Kind() {
	case reflect.Struct:
		return w.reference(t)
	case reflect.Slice:
		items, err := w.value(t.Elem())
		return object{"type": "array", "items": items}, err
	case reflect.Map:
		return w.mapping(t)
	case reflect.Pointer:
		return w.value(t.Elem())
	case reflect.String:
		return w.named(t, text())
	case reflect.Bool:
		return object{"type": "boolean"}, nil
	}
	return nil, fmt.Errorf("no schema for %v", t)
}

// text is any scalar: where text is wanted, strictyaml also takes what YAML reads as a number.
func text() object { return object{"type": []string{"string", "number"}} }

// named adds a type's own keywords.
func (w *writer) named(t reflect.Type, schema object) (object, error) {
	if k, ok := reflect.Zero(t).Interface().(keywords); ok {
		for keyword, value := range k.JSONSchema() {
			schema[keyword] = value
		}
	}
	if _, enumerated := schema["enum"]; enumerated {
		delete(schema, "type")
	}
	return schema, w.describe(schema, t)
}

// describe adds a type's comment, if it is a type of this project.
func (w *writer) describe(schema object, t reflect.Type) error {
	docs, err := w.comments.of(t)
	if docs[t.Name()] != "" && t != reflect.TypeFor[strictyaml.Text]() {
		schema["description"] = docs[t.Name()]
	}
	return err
}

func (w *writer) mapping(t reflect.Type) (object, error) {
	elements, err := w.value(t.Elem())
	if err != nil {
		return nil, err
	}
	names, err := w.value(t.Key())
	schema := object{"type": "object", "additionalProperties": elements}
	if delete(names, "type"); len(names) > 0 { // names are strings anyway
		schema["propertyNames"] = names
	}
	return schema, err
}

// reference adds a struct's schema to the definitions and refers to it.
func (w *writer) reference(t reflect.Type) (object, error) {
	name := t.String()
	if _, there := w.definitions[name]; !there {
		w.definitions[name] = nil // ends recursion of a type that contains itself
		definition, err := w.structure(t)
		if err != nil {
			return nil, err
		}
		w.definitions[name] = definition
	}
	return object{"$ref": "#/$defs/" + name}, nil
}

func (w *writer) structure(t reflect.Type) (object, error) {
	properties, required := object{}, []string{}
	docs, err := w.comments.of(t)
	if err != nil {
		return nil, err
	}
	for i := range t.NumField() {
		field := t.Field(i)
		name, option, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		property, err := w.value(field.Type)
		if err != nil {
			return nil, fmt.Errorf("%v.%s: %w", t, field.Name, err)
		}
		if doc := docs[t.Name()+"."+field.Name]; doc != "" {
			property["description"] = doc
		}
		properties[name] = property
		if option == "required" {
			required = append(required, name)
		}
	}
	schema := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	return w.named(t, schema)
}
