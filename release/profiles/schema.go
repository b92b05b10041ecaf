package profiles

import (
	"io/fs"
	"reflect"

	"github.com/flatcar/oem-sysext/oem/definition/schema"
)

// SchemaFile is the JSON schema of profiles in a checkout, for editors.
const SchemaFile = Dir + "/profile.schema.json"

// Schema returns the content of the schema file of a checkout.
func Schema(checkout fs.FS) ([]byte, error) {
	return schema.For(reflect.TypeFor[Profile](), checkout, "Profile")
}

// JSONSchema describes a number of images.
func (Count) JSONSchema() map[string]any {
	return map[string]any{"pattern": "^[0-9]+$", "minimum": 1, "maximum": maxCount}
}

// JSONSchema describes places.
func (Places) JSONSchema() map[string]any {
	return map[string]any{"pattern": "^(usr|oem-partition|both)( *, *(usr|oem-partition|both))*$"}
}
