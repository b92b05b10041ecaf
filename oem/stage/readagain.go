package stage

import (
	"strings"

	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// withReadAgain adds to oem-setup.service what has files read again that are there too late for who reads them. A tree without such files
// stays as it is.
func (s *Stager) withReadAgain(t tree.Tree, image string) (tree.Tree, error) {
	commands := check.ReadAgain(t)
	if len(commands) == 0 {
		return t, nil
	}
	// A command may fail: a machine need not run what would read the files.
	content := "[Service]\nExecStartPost=-" + strings.Join(commands, "\nExecStartPost=-") + "\n"
	d, err := s.Keep(content)
	if err != nil {
		return nil, err
	}
	file := tree.Entry{Path: check.ReadAgainFile(image), Type: tree.File, Mode: 0o644, Size: int64(len(content)), SHA256: d}
	merged, _ := tree.Merge(tree.Tree{file}.WithParents(t), t)
	return merged, nil
}
