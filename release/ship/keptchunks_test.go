package ship

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/store"
)

// A chunk is compressed once, unless what was kept of it is damaged or gone.
func TestChunksAreKept(t *testing.T) {
	dir := t.TempDir()
	blobs, err := store.OpenBlobs(filepath.Join(dir, "blobs"), dir)
	if err != nil {
		t.Fatal(err)
	}
	results, err := store.OpenResults(filepath.Join(dir, "results"), blobs, nil)
	if err != nil {
		t.Fatal(err)
	}
	var compressed []string
	compress := func(_ context.Context, all [][]byte) ([][]byte, error) {
		var made [][]byte
		for _, chunk := range all {
			compressed = append(compressed, string(chunk))
			made = append(made, []byte("small "+string(chunk)))
		}
		return made, nil
	}
	c := keptChunks{compress, "version 1", blobs, results}
	check := func(what string, chunks, wanted []string) {
		t.Helper()
		compressed = nil
		var all [][]byte
		for _, chunk := range chunks {
			all = append(all, []byte(chunk))
		}
		made, err := c.Compress(t.Context(), all)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for i, chunk := range chunks {
			if !bytes.Equal(made[i], []byte("small "+chunk)) {
				t.Errorf("%s: %s gives %q", what, chunk, made[i])
			}
		}
		if !slices.Equal(compressed, wanted) {
			t.Errorf("%s: compressed %v; wanted %v", what, compressed, wanted)
		}
	}
	check("nothing is kept", []string{"a", "b"}, []string{"a", "b"})
	check("one is new, between others", []string{"a", "c", "b"}, []string{"c"})
	check("all are kept", []string{"b", "c"}, nil)

	kept := blobs.Path(digest.Of([]byte("small b")))
	if err := os.WriteFile(kept, []byte("small B"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("one is damaged", []string{"a", "b"}, []string{"b"})
	if err := os.Remove(kept); err != nil {
		t.Fatal(err)
	}
	check("one is gone", []string{"a", "b"}, []string{"b"})
	c.by = "version 2"
	check("another program", []string{"a"}, []string{"a"})
}
