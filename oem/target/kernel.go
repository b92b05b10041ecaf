package target

import "strings"

// KernelConfig holds the options that a kernel was built with, as a module or not, without CONFIG_.
type KernelConfig map[string]bool

// ParseKernelConfig reads a kernel's .config.
func ParseKernelConfig(content string) KernelConfig {
	config := KernelConfig{}
	for line := range strings.Lines(content) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if option, is := strings.CutPrefix(name, "CONFIG_"); is && (value == "y" || value == "m") {
			config[option] = true
		}
	}
	return config
}

// Has tells whether an option is set.
func (c KernelConfig) Has(option string) bool { return c[option] }
