package changes_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/payload/changes"
)

func image(content []byte) changes.Image {
	return changes.Image{Data: bytes.NewReader(content), Size: size.Bytes(len(content))}
}

func find(t testing.TB, from, to []byte) changes.Changes {
	t.Helper()
	found, err := changes.Find(t.Context(), image(from), image(to))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// blocks makes blocks from numbers. Those with one number are alike; number 0 is zeros.
func blocks(numbers ...int) []byte {
	content := make([]byte, len(numbers)*changes.BlockSize)
	for i, n := range numbers {
		for at := i * changes.BlockSize; at < (i+1)*changes.BlockSize; at += 8 {
			binary.LittleEndian.PutUint64(content[at:], uint64(n)*uint64(at%changes.BlockSize+1))
		}
	}
	return content
}

// count returns numbers from one to another.
func count(from, to int) []int {
	var numbers []int
	for n := from; n < to; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}

func with(parts ...[]int) []byte {
	var all []int
	for _, p := range parts {
		all = append(all, p...)
	}
	return blocks(all...)
}

func TestFind(t *testing.T) {
	hundred := with(count(1, 101))
	for name, test := range map[string]struct {
		from, to []byte
		want     changes.Changes
	}{
		"the same":      {hundred, hundred, changes.Changes{}},
		"one block":     {hundred, with(count(1, 51), []int{1000}, count(52, 101)), changes.Changes{New: []changes.Run{{50, 1}}}},
		"cleared":       {hundred, with(count(1, 51), make([]int, 10), count(61, 101)), changes.Changes{New: []changes.Run{{50, 10}}}},
		"too few moved": {hundred, with(count(1, 51), []int{11, 12, 13}, count(54, 101)), changes.Changes{New: []changes.Run{{50, 3}}}},
		"inserted": {
			hundred, with(count(1, 51), []int{1000}, count(51, 100)),
			changes.Changes{Moves: []changes.Move{{50, 51, 49}}, New: []changes.Run{{50, 1}}},
		},
		"copied twice": {
			hundred, with(count(1, 51), count(1, 11), count(1, 11), count(71, 101)),
			changes.Changes{Moves: []changes.Move{{0, 50, 10}, {0, 60, 10}}},
		},
		"what is overwritten is moved first": {
			hundred, with(count(11, 21), count(21, 31), count(21, 101)),
			changes.Changes{Moves: []changes.Move{{10, 0, 20}}},
		},
		"exchanged": {
			hundred, with(count(51, 61), count(11, 51), count(1, 11), count(61, 101)),
			changes.Changes{Moves: []changes.Move{{0, 50, 10}}, New: []changes.Run{{0, 10}}},
		},
		"longer":                   {hundred, with(count(1, 103)), changes.Changes{New: []changes.Run{{100, 2}}}},
		"shorter":                  {hundred, with(count(1, 51)), changes.Changes{}},
		"ends within a block":      {hundred[:4096*9+7], hundred[:4096*9+8], changes.Changes{New: []changes.Run{{9, 1}}}},
		"ends within a block, too": {hundred[:4096*9+7], hundred[:4096*9+7], changes.Changes{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, find(t, test.from, test.to)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestChangesMakeTheImage does the changes of random images in the earlier one itself, as machines do.
func TestChangesMakeTheImage(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		from := with(random(r, 2000))
		to := edit(r, from)
		found := find(t, from, to)
		slot := append(bytes.Clone(from), make([]byte, max(0, len(to)-len(from)))...)
		at := func(r changes.Run, content []byte) []byte {
			return content[r.Start*changes.BlockSize : r.End()*changes.BlockSize]
		}
		for _, m := range found.Moves {
			copy(at(m.Target(), slot), bytes.Clone(at(m.Source(), slot)))
		}
		for _, r := range found.New {
			copy(at(r, slot), at(r, to))
		}
		if !bytes.Equal(slot[:len(to)], to) {
			t.Fatalf("seed %d: %d moves and %d new runs make another image", seed, len(found.Moves), len(found.New))
		}
	}
}

// random returns numbers of blocks, of which some occur more than once.
func random(r *rand.Rand, n int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = r.IntN(n)
		if i > 0 && r.IntN(10) > 0 {
			numbers[i] = numbers[i-1] + 1
		}
	}
	return numbers
}

// edit copies, exchanges, inserts, removes and overwrites.
func edit(r *rand.Rand, from []byte) []byte {
	to := bytes.Clone(from)
	length := func() int { return (1 + r.IntN(400)) * changes.BlockSize }
	place := func() int { return r.IntN(len(to)/changes.BlockSize-800) * changes.BlockSize }
	for range 1 + r.IntN(6) {
		at, n := place(), length()
		switch r.IntN(5) {
		case 0:
			copy(to[at:], bytes.Clone(to[place():][:n]))
		case 1:
			other := place()
			kept := bytes.Clone(to[at:][:n])
			copy(to[at:], bytes.Clone(to[other:][:n]))
			copy(to[other:], kept)
		case 2:
			to = append(to[:at:at], append(bytes.Clone(to[place():][:n]), to[at:]...)...)
		case 3:
			to = append(to[:at:at], to[at+min(n, 100*changes.BlockSize):]...)
		case 4:
			copy(to[at:], blocks(random(r, n/changes.BlockSize)...))
		}
	}
	return to
}

func TestErrorsWhileReading(t *testing.T) {
	content := with(count(1, 1000))
	short := changes.Image{Data: bytes.NewReader(content), Size: size.Bytes(len(content)) + 1}
	if _, err := changes.Find(t.Context(), image(content), short); !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "at byte") {
		t.Errorf("an image that ends too early: error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := changes.Find(ctx, image(content), image(content)); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: error is %v", err)
	}
}
