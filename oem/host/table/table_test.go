package table

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

func TestTable(t *testing.T) {
	rows := func(t *Table) *Table {
		t.Row("chrony", 3, size.Bytes(2048))
		t.Row("x", 12345, size.MiB)
		return t
	}
	for name, c := range map[string]struct {
		fill func(*bytes.Buffer) *Table
		want string
	}{
		"header": {func(out *bytes.Buffer) *Table { return rows(New(out, "recipe", "files", "size")) },
			"recipe  files  size\nchrony  3      2.0 KiB\nx       12345  1.0 MiB\n"},
		"no header": {func(out *bytes.Buffer) *Table { return rows(New(out)) },
			"chrony  3      2.0 KiB\nx       12345  1.0 MiB\n"},
		"right": {func(out *bytes.Buffer) *Table { return rows(Right(out, "recipe", "files", "size")) },
			"  recipe  files     size\n  chrony      3  2.0 KiB\n       x  12345  1.0 MiB\n"},
		"header alone": {func(out *bytes.Buffer) *Table { return New(out, "recipe", "files") }, "recipe  files\n"},
		"nothing":      {func(out *bytes.Buffer) *Table { return New(out) }, ""},
		"empty cells": {func(out *bytes.Buffer) *Table {
			t := New(out, "a", "b", "c")
			t.Row("", "long", "")
			return t
		}, "a  b     c\n   long  \n"},
	} {
		var out bytes.Buffer
		if err := c.fill(&out).Flush(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, out.String()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func TestErrorsOfWriting(t *testing.T) {
	table := New(full{}, "a", "b")
	table.Row(1, 2)
	if err := table.Flush(); err == nil || err.Error() != "the disk is full" {
		t.Errorf("error is %v", err)
	}
}
