package recipe

import "fmt"

// CheckName refuses text that cannot be a recipe's name.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("recipe %q; wanted lower case letters, digits and hyphens", name)
	}
	return nil
}
