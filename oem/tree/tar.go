package tree

import (
	"archive/tar"
	"fmt"
	"io"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// WriteTar writes the tree as a tar archive, in the tree's order, in which directories come first, below a root directory with mode 0755.
// content writes a file's content; epoch becomes the time of every entry.
func (t Tree) WriteTar(w io.Writer, epoch time.Time, content func(io.Writer, digest.SHA256) error) error {
	if err := t.HasParents(); err != nil {
		return err
	}
	archive := tar.NewWriter(w)
	for _, e := range append(Tree{{Type: Dir, Mode: 0o755}}, t...) {
		if err := archive.WriteHeader(e.tarHeader(epoch)); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		if e.Type != File {
			continue
		}
		if err := content(archive, e.SHA256); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return archive.Close()
}

func (e Entry) tarHeader(epoch time.Time) *tar.Header {
	h := &tar.Header{
		Name:    "." + e.Path,
		Mode:    int64(e.Mode),
		Uid:     e.UID,
		Gid:     e.GID,
		Size:    e.Size,
		ModTime: epoch,
		Format:  tar.FormatPAX, // for long names and xattrs
	}
	switch e.Type {
	case Dir:
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	case File:
		h.Typeflag = tar.TypeReg
	case Symlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Target
	}
	for name, value := range e.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name] = string(value)
	}
	return h
}
