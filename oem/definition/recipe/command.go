package recipe

import (
	"errors"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// Command is a command that must work in the merged system: it ends with status 0.
type Command struct {
	Line strictyaml.Line
	Run  Shell  `yaml:"run,required"` // as an operator types it
	Says string `yaml:"says"`         // text that its output has; any output if empty
}

// Shell is one line for sh.
type Shell string

// UnmarshalText refuses an empty line.
func (s *Shell) UnmarshalText(text []byte) error {
	if strings.TrimSpace(string(text)) == "" {
		return errors.New("an empty command; wanted a line for sh such as agent --version")
	}
	*s = Shell(text)
	return nil
}
