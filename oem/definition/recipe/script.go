package recipe

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Script builds the content of the image in a sandbox.
type Script struct {
	Line     strictyaml.Line
	Run      strictyaml.Text   `yaml:"run,required"` // in a directory beside the definition, such as build/build.sh
	Suite    string            `yaml:"suite"`        // of the packages; an older one for a base with an older glibc
	Packages []strictyaml.Text `yaml:"packages"`     // Debian packages that the script needs, such as gcc
	Timeout  Timeout           `yaml:"timeout"`      // 10m if empty
	Output   Output            `yaml:"max_output"`   // how much it may write; 256 MiB if empty
	Memory   Memory            `yaml:"max_memory"`   // of one process; 2 GiB if empty
}

// Dir is the directory beside the definition that the script sees.
func (s *Script) Dir() string {
	dir, _, _ := strings.Cut(s.Run.Value, "/")
	return dir
}

// Timeout limits how long a script runs.
type Timeout time.Duration

// The limits of what a recipe may ask for.
const (
	maxTimeout = 2 * time.Hour
	maxOutput  = 2 * size.GiB // the output is in memory until it is unpacked
	maxMemory  = 16 * size.GiB
)

// UnmarshalText reads what time.ParseDuration reads.
func (t *Timeout) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d < time.Second || d > maxTimeout {
		return fmt.Errorf("timeout %q; wanted a duration from 1s to %v such as 10m", text, maxTimeout)
	}
	*t = Timeout(d)
	return nil
}

// Duration is the timeout, or the default.
func (t Timeout) Duration() time.Duration {
	if t == 0 {
		return 10 * time.Minute
	}
	return time.Duration(t)
}

// Output limits how much a script writes.
type Output struct{ size.Bytes }

// UnmarshalText reads what size.Parse reads.
func (o *Output) UnmarshalText(text []byte) (err error) {
	o.Bytes, err = size.Parse(string(text))
	if err == nil && (o.Bytes == 0 || o.Bytes > maxOutput) {
		return fmt.Errorf("max_output %q; wanted at most %v", text, maxOutput)
	}
	return err
}

// Limit is the limit, or the default.
func (o Output) Limit() size.Bytes {
	if o.Bytes == 0 {
		return 256 * size.MiB
	}
	return o.Bytes
}

// Memory limits what a process of a script takes.
type Memory struct{ size.Bytes }

// UnmarshalText reads what size.Parse reads.
func (m *Memory) UnmarshalText(text []byte) (err error) {
	m.Bytes, err = size.Parse(string(text))
	if err == nil && (m.Bytes < 64*size.MiB || m.Bytes > maxMemory) {
		return fmt.Errorf("max_memory %q; wanted 64 MiB to %v", text, maxMemory)
	}
	return err
}

// Limit is the limit, or the default.
func (m Memory) Limit() size.Bytes {
	if m.Bytes == 0 {
		return 2 * size.GiB
	}
	return m.Bytes
}

var validScript = regexp.MustCompile(`^[A-Za-z0-9_-]+(/[A-Za-z0-9_.-]+)+$`)

func (c *checker) script() {
	s := c.recipe.Build.Script
	if s == nil {
		return
	}
	if !validScript.MatchString(s.Run.Value) || path.Clean(s.Run.Value) != s.Run.Value {
		c.add(s.Run.Line, "run: %q; wanted a script in a directory beside %s, such as build/build.sh", s.Run, FileName)
		return
	}
	c.executable(s.Run)
	c.scriptDir(s)
	c.suite(s.Line, s.Suite)
	for _, name := range s.Packages {
		c.packageName(name)
	}
}
