package definition

import (
	"io/fs"
	"reflect"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/schema"
)

// The schemas of both kinds of definitions, in a checkout.
const (
	RecipeSchema   = "recipes/recipe.schema.json"
	PlatformSchema = "platforms/platform.schema.json"
)

// Schemas returns the contents of a checkout's schema files, by name.
func Schemas(checkout fs.FS) (map[string][]byte, error) {
	schemas := map[string][]byte{}
	for name, t := range map[string]reflect.Type{
		RecipeSchema:   reflect.TypeFor[recipe.Recipe](),
		PlatformSchema: reflect.TypeFor[platform.Platform](),
	} {
		written, err := schema.For(t, checkout, t.Name())
		if err != nil {
			return nil, err
		}
		schemas[name] = written
	}
	return schemas, nil
}
