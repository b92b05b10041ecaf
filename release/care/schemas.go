package care

import (
	"io/fs"

	"github.com/flatcar/oem-sysext/oem/definition"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// Schemas returns the contents of all schema files of a checkout, by name.
func Schemas(checkout fs.FS) (map[string][]byte, error) {
	schemas, err := definition.Schemas(checkout)
	if err != nil {
		return nil, err
	}
	schemas[profiles.SchemaFile], err = profiles.Schema(checkout)
	return schemas, err
}
