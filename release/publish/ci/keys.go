package ci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/release/setup"
)

// keyNames are the variables that name files with private keys. A workflow has their texts as secrets, in NAME_TEXT.
var keyNames = []string{"SIGNING_KEY", "MINISIGN_KEY", "UPDATE_KEY", "SYSEXT_KEY", "SYSEXT_CERTIFICATE"}

// WriteKeys writes the keys whose texts the environment has to files that nobody else may read, in the directory that RUNNER_TEMP
// names, and sets their names for the next steps in the file that GITHUB_ENV names. RemoveKeys removes them.
func WriteKeys(o setup.Options) error {
	dir, err := keysDir(o)
	if err != nil {
		return err
	}
	if o.GitHub.Environment == "" {
		return errors.New("GITHUB_ENV is not set; wanted the file that tells the next steps where the keys are")
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, name := range keyNames {
		text := o.Getenv(name + "_TEXT")
		if text == "" {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		if err := appendTo(o.GitHub.Environment, fmt.Sprintf("%s=%s\n", name, path)); err != nil {
			return err
		}
	}
	return nil
}

// RemoveKeys removes what WriteKeys wrote.
func RemoveKeys(o setup.Options) error {
	dir, err := keysDir(o)
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

func keysDir(o setup.Options) (string, error) {
	temp := o.GitHub.Temp
	if !filepath.IsAbs(temp) {
		return "", fmt.Errorf("RUNNER_TEMP=%s; wanted the absolute path of a directory for temporary files", temp)
	}
	return filepath.Join(temp, "oem-sysext-keys"), nil
}
