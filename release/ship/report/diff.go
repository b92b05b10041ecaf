package report

import (
	"bufio"
	"io"

	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// Diff writes what changed since an earlier release as GitHub's Markdown: what a report says of that, without the rest.
func Diff(w io.Writer, m, earlier *manifest.Manifest) error {
	f, err := work(m, []*manifest.Manifest{earlier})
	if err != nil {
		return err
	}
	md := markdown{bufio.NewWriter(w), f}
	md.summary()
	md.changes()
	return md.Flush()
}
