package stage

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// bugReports is where people say what is wrong with an image.
const bugReports = "https://github.com/flatcar/oem-sysext/issues"

// Release describes an image in its extension-release.
type Release struct {
	Image    string // its name, which is also in the file name
	Title    string
	Homepage string
	Version  string // of what is in it, as its source writes it; empty where nothing has one
	Scope    string // SYSEXT_SCOPE; empty for the default
}

// WithRelease returns the tree with an extension-release, by which systemd-sysext decides whether an image fits the base
// (os-release(5), systemd-sysext(8)). ID, VERSION_ID, ARCHITECTURE and SYSEXT_SCOPE are compared; other SYSEXT_ fields are
// informational. An existing extension-release is replaced.
//
// By its attribute, the image may also be merged under another name than its own. The name can be taken by an image of the user's.
func WithRelease(t tree.Tree, r Release, base *target.Base, keep func(string) (digest.SHA256, error)) (tree.Tree, error) {
	content := extensionRelease(r, base)
	d, err := keep(content)
	if err != nil {
		return nil, err
	}
	const dir = "/usr/lib/extension-release.d"
	merged, _ := tree.Merge(tree.Tree{
		{Path: "/usr", Type: tree.Dir, Mode: 0o755},
		{Path: "/usr/lib", Type: tree.Dir, Mode: 0o755},
		{Path: dir, Type: tree.Dir, Mode: 0o755},
		{Path: dir + "/extension-release." + r.Image, Type: tree.File, Mode: 0o644, Size: int64(len(content)), SHA256: d,
			Xattrs: map[string][]byte{"user.extension-release.strict": []byte("0")}},
	}, t)
	return merged, nil
}

func extensionRelease(r Release, base *target.Base) string {
	fields := [][2]string{
		{"ID", base.ID},
		{"VERSION_ID", base.VersionID},
		{"ARCHITECTURE", base.Arch.Systemd()},
		{"SYSEXT_SCOPE", r.Scope},
		{"EXTENSION_RELOAD_MANAGER", "1"}, // makes systemd load and uphold the image's units after the merge
		{"SYSEXT_ID", r.Image},
		{"SYSEXT_NAME", r.Title},
		{"SYSEXT_VERSION_ID", cmp.Or(r.Version, base.VersionID)},
		{"SYSEXT_HOME_URL", r.Homepage},
		{"SYSEXT_BUG_REPORT_URL", bugReports},
	}
	var b strings.Builder
	for _, field := range fields {
		if field[1] != "" {
			fmt.Fprintf(&b, "%s=%s\n", field[0], quote(field[1]))
		}
	}
	return b.String()
}

// quote writes a value as a shell would read it back, with double quotes where os-release(5) wants quotes.
func quote(value string) string {
	plain := strings.IndexFunc(value, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r)
	}) < 0
	if plain {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(value) + `"`
}
