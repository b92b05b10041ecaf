package recipe

import "fmt"

// CheckName refuses what cannot be the name of a recipe.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("recipe %q; wanted lower case letters, digits and hyphens", name)
	}
	return nil
}
