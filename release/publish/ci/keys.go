package release

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// keyNames are the variables that name files with private keys. A workflow has their texts as secrets, in NAME_TEXT.
var keyNames = []string{"SIGNING_KEY", "MINISIGN_KEY", "UPDATE_KEY", "SYSEXT_KEY", "SYSEXT_CERTIFICATE"}

// WriteKeys writes the keys whose texts the environment has to files that nobody else may read, in the directory that RUNNER_TEMP
// names, and sets their names for the next steps in the file that GITHUB_ENV names. RemoveKeys removes them.
func WriteKeys(getenv func(string) string) error {
	dir, err := keysDir(getenv)
	if err != nil {
		return err
	}
	if getenv("GITHUB_ENV") == "" {
		return errors.New("GITHUB_ENV is not set; wanted the file that tells the next steps where the keys are")
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, name := range keyNames {
		text := getenv(name + "_TEXT")
		if text == "" {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		if err := appendTo(getenv("GITHUB_ENV"), fmt.Sprintf("%s=%s\n", name, path)); err != nil {
			return err
		}
	}
	return nil
}

// RemoveKeys removes what WriteKeys wrote.
func RemoveKeys(getenv func(string) string) error {
	dir, err := keysDir(getenv)
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

func keysDir(getenv func(string) string) (string, error) {
	temp := getenv("RUNNER_TEMP")
	if !filepath.IsAbs(temp) {
		return "", fmt.Errorf("RUNNER_TEMP=%s; wanted the absolute path of a directory for temporary files", temp)
	}
	return filepath.Join(temp, "oem-sysext-keys"), nil
}
