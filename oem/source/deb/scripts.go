package deb

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/maintainer"
)

// script is what the install script of a package would do.
type script struct {
	maintainer.Effects
	pin    lock.Pin
	digest string
}

func readScript(pin lock.Pin, file string) (script, error) {
	content, err := debian.InstallScript(file, debian.AfterUnpacking)
	if err != nil || content == nil {
		return script{pin: pin}, err
	}
	effects, err := maintainer.Read(content)
	if err != nil {
		effects.Others = append(effects.Others, err.Error())
	}
	return script{effects, pin, digest.Of(content).String()}, nil
}

// diversions reads what a package moves away before it is unpacked. A script that cannot be read moves nothing.
func diversions(file string) ([]maintainer.Diversion, error) {
	content, err := debian.InstallScript(file, debian.BeforeUnpacking)
	if err != nil || content == nil {
		return nil, err
	}
	effects, err := maintainer.Read(content)
	if err != nil {
		return nil, nil //nolint:nilerr // it may be in another language
	}
	return effects.Diversions, nil
}

// divert moves files of packages that are unpacked already.
func divert(all []maintainer.Diversion, root *os.Root) error {
	for _, one := range all {
		if _, err := root.Lstat(one.From); err != nil {
			continue // no package has it
		}
		if err := errors.Join(root.MkdirAll(path.Dir(one.To), 0o755), root.Rename(one.From, one.To)); err != nil {
			return err
		}
	}
	return nil
}

// install does what install scripts would do to the files of a recipe: alternatives become links. Privileges are the recipe's to declare or to
// decline, and so is what is not known.
func (d source) install(scripts []script, to kind.Place) error {
	var errs []error
	for _, s := range scripts {
		errs = append(errs, kind.About(s.pin, d.privileges(s, to)), kind.About(s.pin, d.unknown(s)))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return alternatives(scripts, to)
}

// privileges asks about privileges that the recipe says nothing of, of files that are there.
func (d source) privileges(s script, to kind.Place) error {
	for _, p := range s.Privileges {
		_, err := to.Root.Lstat(p.Path)
		if _, said := d.recipe.Special["/"+p.Path]; err == nil && !said && !to.Prunes(p.Path) {
			return fmt.Errorf("%s:%d: its install script gives /%s a privilege: %s\nset it below special: with the path, such as {capabilities: [cap_net_raw]} or {mode: \"4755\"}, or go without it by {}",
				d.recipe.File, d.Line, p.Path, p.How)
		}
	}
	return nil
}

// unknown asks about commands of a script whose effect on /usr is not known.
func (d source) unknown(s script) error {
	reviewed := d.Reviewed[s.pin.Name]
	if len(s.Others) == 0 || reviewed != "" && strings.HasPrefix(s.digest, reviewed) {
		return nil
	}
	return fmt.Errorf("%s:%d: its install script may change /usr by what is not done here:\n  %s\nif the image can do without, write reviewed: {%s: %.12s} into the deb source",
		d.recipe.File, d.Line, strings.Join(s.Others, "\n  "), s.pin.Name, s.digest)
}

// alternatives makes links for the alternatives that are there, to that of the highest priority.
func alternatives(scripts []script, to kind.Place) error {
	var all []maintainer.Alternative
	for _, s := range scripts {
		all = append(all, s.Alternatives...)
	}
	slices.SortStableFunc(all, func(a, b maintainer.Alternative) int { return cmp.Compare(b.Priority, a.Priority) })
	for _, a := range all {
		if _, err := to.Root.Lstat(a.Path); err != nil || !to.KeepNeeded(a.Link) || to.Prunes(a.Path) || to.Prunes(a.Link) {
			continue
		}
		if err := to.Root.MkdirAll(path.Dir(a.Link), 0o755); err != nil {
			return err
		}
		if err := to.Root.Symlink("/"+a.Path, a.Link); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
