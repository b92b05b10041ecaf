package rewrite

import (
	"fmt"
	"os"
	"slices"

	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
	"github.com/flatcar/oem-sysext/release/format/btrfs/superblock"
)

// reader reads the trees of a file system that nobody has mounted.
type reader struct {
	f      *os.File
	super  superblock.Superblock
	chunks []chunk
	roots  []item            // of the root tree
	sums   map[uint64]uint32 // of data, by the logical address of each block
}

// chunk maps logical addresses to places in the file.
type chunk struct {
	logical, length, physical uint64
}

func openReader(f *os.File) (*reader, error) {
	super, err := superblock.ReadFile(f)
	if err != nil {
		return nil, err
	}
	r := &reader{f: f, super: super, sums: map[uint64]uint32{}}
	if err := r.readChunks(); err != nil {
		return nil, fmt.Errorf("chunks: %w", err)
	}
	if r.roots, err = r.items(ondisk.RootTree, super.Root()); err != nil {
		return nil, err
	}
	return r, r.readSums()
}

// readChunks reads the few chunks in the superblock, which hold the tree of all chunks.
func (r *reader) readChunks() error {
	array := r.super.SystemChunks()
	for len(array) > 0 {
		if len(array) < ondisk.KeyLength+ondisk.ChunkLength {
			return fmt.Errorf("%d bytes are left in the superblock; wanted %d", len(array), ondisk.KeyLength+ondisk.ChunkLength)
		}
		if err := r.addChunk(item{parseKey(array), array[ondisk.KeyLength:][:ondisk.ChunkLength]}); err != nil {
			return err
		}
		array = array[ondisk.KeyLength+ondisk.ChunkLength:]
	}
	items, err := r.items(ondisk.ChunkTree, r.super.Chunks())
	if err != nil {
		return err
	}
	r.chunks = nil
	for _, it := range items {
		if it.key.kind != ondisk.ChunkItem {
			continue
		}
		if err := r.addChunk(it); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) addChunk(it item) error {
	if it.key.kind != ondisk.ChunkItem || len(it.data) != ondisk.ChunkLength || ondisk.Uint16(it.data, ondisk.ChunkNumStripes) != 1 {
		return fmt.Errorf("%v is no chunk with one stripe", it.key)
	}
	c := chunk{it.key.offset, ondisk.Uint64(it.data, ondisk.ChunkSize), ondisk.Uint64(it.data, ondisk.ChunkPhysical)}
	total := uint64(r.super.Size)
	if c.length > total || c.physical > total-c.length || c.logical+c.length < c.logical {
		return fmt.Errorf("chunk %v has %d bytes at %d; the file system has %d", it.key, c.length, c.physical, total)
	}
	r.chunks = append(r.chunks, c)
	return nil
}

// read fills buf from a logical address.
func (r *reader) read(buf []byte, logical uint64) error {
	length := uint64(len(buf))
	for _, c := range r.chunks {
		if logical < c.logical || logical-c.logical > c.length || length > c.length-(logical-c.logical) {
			continue
		}
		_, err := r.f.ReadAt(buf, int64(c.physical+logical-c.logical))
		return err
	}
	return fmt.Errorf("no chunk has %d bytes at address %d", length, logical)
}

// items returns all items of a tree in order.
func (r *reader) items(owner uint64, root superblock.Pointer) ([]item, error) {
	w := &walker{r: r, left: int(r.super.Size / ondisk.BlockSize)}
	if err := w.walk(root.Address, root.Level); err != nil {
		return nil, fmt.Errorf("tree %d: %w", int64(owner), err)
	}
	return w.items, nil
}

// root returns the root item of a tree.
func (r *reader) root(tree uint64) (item, error) {
	for _, it := range r.roots {
		if it.key.object == tree && it.key.kind == ondisk.RootItem && len(it.data) == ondisk.RootLength {
			return it, nil
		}
	}
	return item{}, fmt.Errorf("there is no tree %d", int64(tree))
}

// tree returns all items of a tree that the root tree names.
func (r *reader) tree(tree uint64) ([]item, error) {
	root, err := r.root(tree)
	if err != nil {
		return nil, err
	}
	if root.data[ondisk.RootLevel] >= ondisk.MaxLevels {
		return nil, fmt.Errorf("tree %d has level %d; wanted less than %d", int64(tree), root.data[ondisk.RootLevel], ondisk.MaxLevels)
	}
	return r.items(tree, superblock.Pointer{Address: ondisk.Uint64(root.data, ondisk.RootAddress), Level: root.data[ondisk.RootLevel]})
}

func (r *reader) readSums() error {
	items, err := r.tree(ondisk.CsumTree)
	if err != nil {
		return err
	}
	for _, it := range items {
		if it.key.kind != ondisk.ExtentCsum {
			return fmt.Errorf("the checksum tree has an item %v", it.key)
		}
		for i := range len(it.data) / 4 {
			r.sums[it.key.offset+uint64(i)*ondisk.BlockSize] = ondisk.Uint32(it.data, i*4)
		}
	}
	return nil
}

// readData fills buf with whole blocks of data from a logical address, and checks the sums of those that have one.
func (r *reader) readData(buf []byte, logical uint64) error {
	if err := r.read(buf, logical); err != nil {
		return err
	}
	for block := range slices.Chunk(buf, ondisk.BlockSize) {
		want, has := r.sums[logical]
		if got := ondisk.DataSum(block); has && got != want {
			return fmt.Errorf("data block %d has checksum %08x; wanted %08x", logical, got, want)
		}
		logical += ondisk.BlockSize
	}
	return nil
}
