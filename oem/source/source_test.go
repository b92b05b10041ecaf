package source

import (
	"reflect"
	"testing"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
)

// TestAll looks for a kind that recipes may have and nothing implements.
func TestAll(t *testing.T) {
	fields := reflect.TypeFor[recipe.Source]()
	for i := range fields.NumField() {
		field := fields.Field(i)
		if field.Type.Kind() != reflect.Pointer {
			continue
		}
		var s recipe.Source
		reflect.ValueOf(&s).Elem().Field(i).Set(reflect.New(field.Type.Elem()))
		if found := All.Of(&recipe.Recipe{}, s); found == nil || found.Name() != field.Tag.Get("yaml") {
			t.Errorf("%s sources are %T", field.Name, found)
		}
	}
}
