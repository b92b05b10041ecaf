package stage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/flatcar/oem-sysext/oem/check/accounts"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// declare sets the modes, owners and capabilities that the recipe of each part declares.
func (s *Stager) declare(parts []Part, problems *Problems) ([]Part, error) {
	var known *accounts.Database
	declared := slices.Clone(parts)
	for i, part := range parts {
		if len(part.Recipe.Special) == 0 {
			continue
		}
		if known == nil {
			var err error
			if known, err = accounts.Read(s.Base); err != nil {
				return nil, err
			}
		}
		declared[i].Tree = slices.Clone(part.Tree)
		for _, name := range slices.Sorted(maps.Keys(part.Recipe.Special)) {
			if err := apply(declared[i].Tree, s.Base.Place(name), part.Recipe.Special[name], known); err != nil {
				problems.add("special: %s: %v (%s)", name, err, part.Recipe.File)
			}
		}
	}
	return declared, nil
}

// apply sets the declared attributes of a path.
func apply(t tree.Tree, name string, special recipe.Special, known *accounts.Database) error {
	e := t.At(name)
	if e == nil || e.Type == tree.Symlink {
		return errors.New("no such file or directory is in the recipe's tree; remove the line")
	}
	if special.Mode != 0 {
		e.Mode = uint32(special.Mode)
	}
	if special.Owner != (recipe.Owner{}) {
		var err error
		if e.UID, err = known.User(special.Owner.User); err != nil {
			return err
		}
		if e.GID, err = known.Group(special.Owner.Group); err != nil {
			return err
		}
	}
	e.Xattrs = maps.Clone(e.Xattrs)
	delete(e.Xattrs, capabilityXattr)
	if len(special.Capabilities) > 0 {
		if e.Type != tree.File {
			return fmt.Errorf("capabilities are for files only; remove the line")
		}
		if e.Xattrs == nil {
			e.Xattrs = map[string][]byte{}
		}
		e.Xattrs[capabilityXattr] = capabilityValue(special.Capabilities)
	}
	return nil
}

// capabilityValue is a struct vfs_cap_data, revision 2 (linux/capability.h): permitted and effective, nothing inheritable.
func capabilityValue(capabilities []recipe.Capability) []byte {
	const revision2, effective = 0x02000000, 1
	var permitted uint64
	for _, capability := range capabilities {
		permitted |= 1 << capability
	}
	value := binary.LittleEndian.AppendUint32(nil, revision2|effective)
	value = binary.LittleEndian.AppendUint32(value, uint32(permitted))
	value = binary.LittleEndian.AppendUint32(value, 0)
	value = binary.LittleEndian.AppendUint32(value, uint32(permitted>>32))
	return binary.LittleEndian.AppendUint32(value, 0)
}
