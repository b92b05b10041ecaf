package testreaders

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
)

// The ways to change an input that fit every format.

// seed makes random mutants the same each time.
const seed = 20231114

func (in input) with(change string, content ...[]byte) input {
	return input{in.name + ": " + change, slices.Concat(content...)}
}

// put replaces bytes.
func (in input) put(change string, at int, value []byte) input {
	content := bytes.Clone(in.content)
	copy(content[at:], value)
	return in.with(change, content)
}

// parts cuts at each boundary and next to it, and leaves out, doubles and swaps the parts between boundaries.
func parts(in input, boundaries ...int) (all []input) {
	boundaries = slices.Compact(slices.Sorted(slices.Values(append([]int{0, len(in.content)}, boundaries...))))
	c := in.content
	for i, to := range boundaries {
		for _, end := range []int{to - 1, to, to + 1} {
			if end >= 0 && end < len(c) {
				all = append(all, in.with(fmt.Sprintf("cut at byte %d", end), c[:end]))
			}
		}
		if i == 0 {
			continue
		}
		from := boundaries[i-1]
		all = append(all,
			in.with(fmt.Sprintf("bytes %d to %d left out", from, to), c[:from], c[to:]),
			in.with(fmt.Sprintf("bytes %d to %d twice", from, to), c[:to], c[from:]))
		if i > 1 {
			before := boundaries[i-2]
			all = append(all, in.with(fmt.Sprintf("bytes %d to %d and %d to %d swapped", before, from, from, to), c[:before], c[from:to], c[before:from], c[to:]))
		}
	}
	return all
}

// followed has something behind the end, or before the beginning.
func followed(in input) []input {
	c := in.content
	return []input{
		in.with("one zero follows", c, []byte{0}),
		in.with("a letter follows", c, []byte("x")),
		in.with("a line break follows", c, []byte("\n")),
		in.with("512 zeros follow", c, make([]byte, 512)),
		in.with("10240 zeros follow", c, make([]byte, 10240)),
		in.with("512 zeros and a letter follow", c, make([]byte, 512), []byte("x")),
		in.with("itself follows", c, c),
		in.with("a letter before it", []byte("x"), c),
		in.with("512 zeros before it", make([]byte, 512), c),
		in.with("empty"),
	}
}

// flipped has one or a few random bytes changed.
func flipped(in input, count int) (all []input) {
	random := rand.New(rand.NewPCG(seed, uint64(len(in.content))))
	for i := range count {
		content := bytes.Clone(in.content)
		var where []int
		for range 1 + i%3 {
			at := random.IntN(len(content))
			content[at] ^= byte(1 + random.IntN(255))
			where = append(where, at)
		}
		all = append(all, in.with(fmt.Sprintf("random bytes at %d", where), content))
	}
	return all
}

// field is a field of a header.
type field struct {
	name       string
	at, length int
}

// numbers changes little-endian fields to values at limits; mend, if not nil, corrects checksums afterwards.
func numbers(in input, mend func([]byte), fields ...field) (all []input) {
	for _, f := range fields {
		old := make([]byte, 8)
		copy(old, in.content[f.at:f.at+min(f.length, 8)])
		value := binary.LittleEndian.Uint64(old)
		for _, new := range []uint64{0, 1, 2, value + 1, value - 1, value << 1, value >> 1, 1<<(8*min(f.length, 8)-1) - 1, 1 << (8*min(f.length, 8) - 1), 1<<64 - 1} {
			encoded := binary.LittleEndian.AppendUint64(nil, new)[:min(f.length, 8)]
			mutant := in.put(fmt.Sprintf("%s at byte %d is %#x", f.name, f.at, encoded), f.at, encoded)
			if mend != nil {
				mend(mutant.content)
			}
			all = append(all, mutant)
		}
	}
	return all
}

// texts changes fields of text to values, which are cut or filled up with the filler; mend corrects checksums afterwards.
func texts(in input, filler byte, mend func([]byte), fields []field, values ...string) (all []input) {
	for _, f := range fields {
		for _, value := range values {
			text := []byte(value)
			for len(text) < f.length {
				text = append(text, filler)
			}
			mutant := in.put(fmt.Sprintf("%s at byte %d is %q", f.name, f.at, value), f.at, text[:f.length])
			if mend != nil {
				mend(mutant.content)
			}
			all = append(all, mutant)
		}
	}
	return all
}

// lines leaves out, doubles, swaps and changes lines of a text.
func lines(in input, changes ...string) (all []input) {
	var ends []int
	for i, c := range in.content {
		if c == '\n' {
			ends = append(ends, i+1)
		}
	}
	all = parts(in, ends...)
	for _, end := range append([]int{0}, ends...) {
		for _, change := range changes {
			all = append(all, in.with(fmt.Sprintf("%q at byte %d", change, end), in.content[:end], []byte(change), in.content[end:]))
		}
	}
	return all
}

// characters puts each text at each of some places, without taking anything away.
func characters(in input, every int, texts ...string) (all []input) {
	for at := 0; at <= len(in.content); at += every {
		for _, text := range texts {
			all = append(all, in.with(fmt.Sprintf("%q put in at byte %d", text, at), in.content[:at], []byte(text), in.content[at:]))
		}
	}
	return all
}

// unique drops mutants with the bytes of an earlier one.
func unique(all []input) (kept []input) {
	seen := map[string]bool{}
	for _, in := range all {
		if !seen[string(in.content)] {
			seen[string(in.content)] = true
			kept = append(kept, in)
		}
	}
	return kept
}
