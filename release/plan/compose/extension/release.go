package extension

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/osrelease"
)

// OS is what an extension has to be for (os-release(5)).
type OS struct {
	ID        string
	IDLike    []string
	VersionID string
	Level     string // SYSEXT_LEVEL
	Arch      arch.Arch
}

// ParseOS reads an OS release's os-release.
func ParseOS(content []byte, a arch.Arch) (OS, error) {
	values, err := osrelease.Parse(content)
	return OS{values["ID"], strings.Fields(values["ID_LIKE"]), values["VERSION_ID"], values["SYSEXT_LEVEL"], a}, err
}

func (o OS) String() string {
	text := o.ID + " " + o.VersionID
	if o.Level != "" {
		text += ", SYSEXT_LEVEL=" + o.Level
	}
	return text
}

// scopes are the words of SYSEXT_SCOPE (os-release(5)).
var scopes = []string{"system", "initrd", "portable"}

// releaseDir is where an extension says what it is for.
const releaseDir = "/usr/lib/extension-release.d"

// Release is what an extension says of itself: its extension-release.
type Release map[string]string

// ReleaseOf reads the extension-release of a tree by the extension's name, which systemd takes from the name of its file.
// Whatever else lies there is refused: systemd would take another name's for it, or none.
func ReleaseOf(t tree.Tree, name string, blobs *store.Blobs) (Release, error) {
	var found []string
	for _, e := range t.Under(releaseDir) {
		found = append(found, fmt.Sprintf("%q", e.Path))
	}
	e, there := t.Find(path.Join(releaseDir, "extension-release."+name))
	if !there || e.Type != tree.File || len(found) != 1 {
		return nil, fmt.Errorf("has %s; wanted the one file %s/extension-release.%s, which has the extension's name",
			cmp.Or(strings.Join(found, ", "), "no extension-release"), releaseDir, name)
	}
	if e.Size > osrelease.MaxLength {
		return nil, fmt.Errorf("%s has %d bytes; wanted at most %d", e.Path, e.Size, osrelease.MaxLength)
	}
	f, err := os.Open(blobs.Path(e.SHA256))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, osrelease.MaxLength))
	if err != nil {
		return nil, err
	}
	values, err := osrelease.Parse(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Path, err)
	}
	for _, scope := range strings.Fields(values["SYSEXT_SCOPE"]) {
		if !slices.Contains(scopes, scope) {
			return nil, fmt.Errorf("%s: SYSEXT_SCOPE has %q; wanted some of %s", e.Path, scope, strings.Join(scopes, ", "))
		}
	}
	return values, nil
}

// CoupledError says that an extension is for another OS release, and has to be made again for each.
type CoupledError struct {
	Built string // what it was built for
	Base  OS
}

func (e *CoupledError) Error() string {
	return fmt.Sprintf("was built for %s; the base is %v", e.Built, e.Base)
}

// Fits returns why an extension would not be merged over an OS release (systemd-sysext(8), os-release(5)).
// An extension for another release of the same OS is a *CoupledError.
func (r Release) Fits(o OS) error {
	if wanted := r["ARCHITECTURE"]; wanted != "" && wanted != "_any" && wanted != o.Arch.Systemd() {
		return fmt.Errorf("is for ARCHITECTURE=%s; wanted %s", wanted, o.Arch.Systemd())
	}
	if scope, set := r["SYSEXT_SCOPE"]; set && !slices.Contains(strings.Fields(scope), "system") {
		return fmt.Errorf("has SYSEXT_SCOPE=%q; wanted one with system", scope)
	}
	switch id := r["ID"]; {
	case id == "_any":
		return nil
	case id != o.ID && !slices.Contains(o.IDLike, id):
		return fmt.Errorf("is for ID=%s; wanted %s or _any", cmp.Or(id, "nothing"), o.ID)
	}
	if r["SYSEXT_LEVEL"] != "" && o.Level != "" {
		if r["SYSEXT_LEVEL"] != o.Level {
			return &CoupledError{"SYSEXT_LEVEL=" + r["SYSEXT_LEVEL"], o}
		}
		return nil
	}
	if r["VERSION_ID"] != o.VersionID && o.VersionID != "" {
		return &CoupledError{"VERSION_ID=" + cmp.Or(r["VERSION_ID"], "nothing"), o}
	}
	return nil
}

// Coupled tells whether an extension has to be made again for each release of the OS.
func (r Release) Coupled(o OS) bool {
	return r["ID"] != "_any" && (r["SYSEXT_LEVEL"] == "" || o.Level == "")
}
