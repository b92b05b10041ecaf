package strictyaml

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

type limit struct{ size.Bytes }

func (l *limit) UnmarshalText(text []byte) (err error) {
	l.Bytes, err = size.Parse(string(text))
	return err
}

type pet struct {
	Line Line
	Name Text     `yaml:"name,required"`
	Toys []string `yaml:"toys"`
}

type definition struct {
	Title string          `yaml:"title,required"`
	Pets  []pet           `yaml:"pets"`
	Max   limit           `yaml:"max"`
	Good  bool            `yaml:"good"`
	Names map[string]Text `yaml:"names"`
	Home  *pet            `yaml:"home"`
}

func TestDecode(t *testing.T) {
	var got definition
	mistakes := Decode("f.yaml", []byte(`# first line
title: "1.0"
pets:
  - {name: Rex, toys: [ball, 7]}
max: 2 MiB
good: true
names: {a: b}
home: {name: x}
`), &got)
	want := definition{
		Title: "1.0",
		Pets:  []pet{{Line: 4, Name: Text{"Rex", 4}, Toys: []string{"ball", "7"}}},
		Max:   limit{2 * size.MiB},
		Good:  true,
		Names: map[string]Text{"a": {"b", 7}},
		Home:  &pet{Line: 8, Name: Text{"x", 8}},
	}
	if mistakes.Err() != nil || !cmp.Equal(want, got) {
		t.Errorf("mistakes %v, difference %s", mistakes, cmp.Diff(want, got))
	}
}

func TestEveryMistakeInOneRun(t *testing.T) {
	var got definition
	err := Decode("f.yaml", []byte(`pets:
  - {naem: Rex, toys: ball}
  - Rex
max: 2 MB
good: [yes]
good: true
names: &a {a: {}}
home:
`), &got).Err()
	want := []string{
		`f.yaml:1: the key "title" is missing; add it`,
		`f.yaml:2: unknown key "naem"; did you mean "name"? Wanted is one of name, toys`,
		`f.yaml:2: toys is "ball"; wanted a list`,
		`f.yaml:2: the key "name" is missing; add it`,
		`f.yaml:3: an item of pets is "Rex"; wanted keys and values`,
		`f.yaml:4: max: "2 MB" has the unit "MB"; wanted B, KiB, MiB or GiB`,
		`f.yaml:5: good is a list; wanted true or false`,
		`f.yaml:6: key "good" is already on line 5; wanted once`,
		`f.yaml:7: an anchor or alias; wanted the value itself`,
		`f.yaml:8: home is empty; write keys and values`,
	}
	var mistakes Mistakes
	if !errors.As(err, &mistakes) {
		t.Fatalf("error is %v", err)
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
}

func TestNotADocument(t *testing.T) {
	for content, want := range map[string]string{
		"":                                 "f.yaml:1: the file is empty",
		"# nothing\n":                      "f.yaml:1: the file is empty",
		"title: [\n":                       "not YAML",
		"title: a\npets:\n\t- name: b\n":   "f.yaml:3: not YAML: the line begins with a tab; wanted spaces",
		"title: a\npets:\n  \t- name: b\n": "f.yaml:3: not YAML: the line begins with a tab; wanted spaces",
		"\ttitle: a\n":                     "f.yaml:1: not YAML: the line begins with a tab; wanted spaces",
		"title: a\tb\n":                    "f.yaml:1: title: ",
		"title: a\n---\nb: c\n":            "f.yaml:2: a second document",
		"- a\n":                            "f.yaml:1: the file is a list; wanted keys and values",
		"title: \xff\xfe\n":                "not YAML",
	} {
		var got definition
		err := Decode("f.yaml", []byte(content), &got).Err()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v; want %q", content, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("title: a\npets: [{name: b}]\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(_ *testing.T, content []byte) {
		var got definition
		_ = Decode("f.yaml", content, &got)
	})
}
