// Package scaffold creates recipes and platforms from templates, for their maintainers to fill in.
//
// Required values are empty, so that recipe:check names each line to fill in. Existing files are never overwritten.
package scaffold

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
)

//go:embed recipe.yaml
var recipeText string

//go:embed platform.yaml
var platformText string

// Recipe creates a recipe in a checkout and returns its file, relative to the checkout.
func Recipe(checkout, name string) (string, error) {
	if err := recipe.CheckName(name); err != nil {
		return "", err
	}
	return write(checkout, path.Join("recipes", name, recipe.FileName), recipeText, name)
}

// Platform creates a platform in a checkout and returns its file, relative to the checkout.
func Platform(checkout, id string) (string, error) {
	if err := platform.CheckID(id); err != nil {
		return "", err
	}
	return write(checkout, path.Join("platforms", id+".yaml"), platformText, id)
}

func write(checkout, file, text, name string) (string, error) {
	full := filepath.Join(checkout, filepath.FromSlash(file))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return "", err
	}
	f, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("%s exists already; edit it, or choose another name", file)
	}
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(strings.ReplaceAll(text, "NAME", name))
	return file, errors.Join(err, f.Close())
}
