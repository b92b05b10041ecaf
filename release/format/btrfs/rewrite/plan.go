package rewrite

import (
	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
	"github.com/flatcar/oem-sysext/release/format/btrfs/superblock"
)

// plan says how the items of a tree are spread over blocks: as many into each as fit.
// It depends on the items' lengths only, so that addresses can be filled in later.
type plan struct {
	owner  uint64
	items  []item
	levels [][]span // leaves first; of items, and above of blocks one level below
}

type span struct{ from, to int }

func planTree(owner uint64, items []item) *plan {
	p := &plan{owner: owner, items: items, levels: [][]span{leaves(items)}}
	for len(p.levels[len(p.levels)-1]) > 1 {
		below := len(p.levels[len(p.levels)-1])
		var nodes []span
		for from := 0; from < below; from += ondisk.MaxPointers {
			nodes = append(nodes, span{from, min(from+ondisk.MaxPointers, below)})
		}
		p.levels = append(p.levels, nodes)
	}
	return p
}

func leaves(items []item) []span {
	var spans []span
	from, used := 0, ondisk.HeaderLength
	for i, it := range items {
		need := ondisk.ItemLength + len(it.data)
		if used+need > ondisk.BlockSize {
			spans = append(spans, span{from, i})
			from, used = i, ondisk.HeaderLength
		}
		used += need
	}
	return append(spans, span{from, len(items)})
}

func (p *plan) level() uint8 { return uint8(len(p.levels) - 1) }

func (p *plan) blocks() int {
	n := 0
	for _, level := range p.levels {
		n += len(level)
	}
	return n
}

// placed is a tree whose blocks have addresses.
type placed struct {
	*plan
	addresses []uint64 // leaves first; the root is the last
}

func (p placed) root() uint64 { return p.addresses[len(p.addresses)-1] }

func (p placed) pointer() superblock.Pointer {
	return superblock.Pointer{Address: p.root(), Level: p.level()}
}

// each calls f with every block of the tree, complete but for what the file system puts into all headers.
func (p placed) each(f func(address uint64, block []byte) error) error {
	type child struct {
		first   key
		address uint64
	}
	addresses := p.addresses
	var below []child
	for level, spans := range p.levels {
		var here []child
		for i, s := range spans {
			block := make([]byte, ondisk.BlockSize)
			ondisk.PutUint64(block, ondisk.HeaderOwner, p.owner)
			ondisk.PutUint32(block, ondisk.HeaderCount, uint32(s.to-s.from))
			block[ondisk.HeaderLevel] = uint8(level)
			var first key
			if level == 0 {
				putItems(block, p.items[s.from:s.to])
				if s.to > s.from {
					first = p.items[s.from].key
				}
			} else {
				for j, c := range below[s.from:s.to] {
					pointer := block[ondisk.HeaderLength+j*ondisk.PointerLength:]
					c.first.put(pointer)
					ondisk.PutUint64(pointer, ondisk.PointerAddress, c.address)
					ondisk.PutUint64(pointer, ondisk.PointerGeneration, generation)
				}
				first = below[s.from].first
			}
			here = append(here, child{first, addresses[i]})
			if err := f(addresses[i], block); err != nil {
				return err
			}
		}
		addresses = addresses[len(spans):]
		below = here
	}
	return nil
}

// putItems writes heads from the front and data from the back.
func putItems(block []byte, items []item) {
	area := block[ondisk.HeaderLength:]
	end := len(area)
	for i, it := range items {
		end -= len(it.data)
		copy(area[end:], it.data)
		head := area[i*ondisk.ItemLength:]
		it.key.put(head)
		ondisk.PutUint32(head, ondisk.ItemOffset, uint32(end))
		ondisk.PutUint32(head, ondisk.ItemSize, uint32(len(it.data)))
	}
}
