package rewrite

import (
	"errors"
	"fmt"

	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
	"github.com/flatcar/oem-sysext/release/format/btrfs/superblock"
)

// walker collects the items of a tree. It stops when it has seen more blocks than there are.
type walker struct {
	r     *reader
	left  int
	items []item
}

func (w *walker) walk(address uint64, level uint8) error {
	if w.left--; w.left < 0 {
		return errors.New("it has more blocks than the file system")
	}
	block, err := w.r.block(address, level)
	if err != nil {
		return fmt.Errorf("block %d: %w", address, err)
	}
	count := int(ondisk.Uint32(block, ondisk.HeaderCount))
	if level == 0 {
		return w.leaf(block, address, count)
	}
	if count > ondisk.MaxPointers {
		return fmt.Errorf("block %d has %d pointers; at most %d fit", address, count, ondisk.MaxPointers)
	}
	for i := range count {
		if err := w.walk(ondisk.Uint64(block, ondisk.HeaderLength+i*ondisk.PointerLength+ondisk.PointerAddress), level-1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) leaf(block []byte, address uint64, count int) error {
	area := block[ondisk.HeaderLength:]
	if count > len(area)/ondisk.ItemLength {
		return fmt.Errorf("block %d has %d items; at most %d fit", address, count, len(area)/ondisk.ItemLength)
	}
	for i := range count {
		head := area[i*ondisk.ItemLength:]
		k := parseKey(head)
		offset, length := uint64(ondisk.Uint32(head, ondisk.ItemOffset)), uint64(ondisk.Uint32(head, ondisk.ItemSize))
		if offset+length > uint64(len(area)) {
			return fmt.Errorf("block %d: item %v ends at %d of %d", address, k, offset+length, len(area))
		}
		if len(w.items) > 0 && w.items[len(w.items)-1].key.compare(k) >= 0 {
			return fmt.Errorf("block %d: item %v does not come after %v", address, k, w.items[len(w.items)-1].key)
		}
		w.items = append(w.items, item{k, area[offset : offset+length]})
	}
	return nil
}

// block reads a tree block and checks that it is the one that was meant.
func (r *reader) block(address uint64, level uint8) ([]byte, error) {
	block := make([]byte, ondisk.BlockSize)
	if err := r.read(block, address); err != nil {
		return nil, err
	}
	if got, want := ondisk.Uint32(block, 0), ondisk.BlockSum(block); got != want {
		return nil, fmt.Errorf("checksum is %08x; wanted %08x", got, want)
	}
	if got := superblock.UUID(block[ondisk.HeaderFSID:]); got != r.super.MetadataUUID {
		return nil, fmt.Errorf("it belongs to file system %v; wanted %v", got, r.super.MetadataUUID)
	}
	if got := ondisk.Uint64(block, ondisk.HeaderAddress); got != address {
		return nil, fmt.Errorf("it says it is at %d", got)
	}
	if got := block[ondisk.HeaderLevel]; got != level {
		return nil, fmt.Errorf("it has level %d; wanted %d", got, level)
	}
	return block, nil
}
