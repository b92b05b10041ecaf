package recipe

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Special are security-relevant attributes of a file or directory: setuid bits, owner, capabilities.
// They are set on the file, whatever the source had.
type Special struct {
	Mode         FileMode     `yaml:"mode"`
	Owner        Owner        `yaml:"owner"`
	Capabilities []Capability `yaml:"capabilities"` // permitted and effective; see capabilities(7)
}

// FileMode is a mode as chmod(1) takes it in numbers, with setuid, setgid and sticky bits. 0 keeps the source's mode.
type FileMode uint32

// UnmarshalText reads three or four octal digits.
func (m *FileMode) UnmarshalText(text []byte) error {
	bits, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || bits > 0o7777 || bits == 0 || len(text) < 3 || len(text) > 4 {
		return fmt.Errorf("mode %q; wanted three or four octal digits such as 4755", text)
	}
	*m = FileMode(bits)
	return nil
}

// Owner is a user and a group of the base, by name; root if empty.
type Owner struct{ User, Group string }

// Names as systemd accepts them (https://systemd.io/USER_NAMES, strict mode).
var validOwner = regexp.MustCompile(`^([a-z_][a-z0-9_-]{0,30}):([a-z_][a-z0-9_-]{0,30})$`)

// UnmarshalText reads user:group.
func (o *Owner) UnmarshalText(text []byte) error {
	match := validOwner.FindStringSubmatch(string(text))
	if match == nil {
		return fmt.Errorf("owner %q; wanted USER:GROUP with names of the base, such as root:disk", text)
	}
	o.User, o.Group = match[1], match[2]
	return nil
}

// Capability is one of Linux's capabilities, by its number.
type Capability int

// capabilities are in the order of their numbers (linux/capability.h).
var capabilities = strings.Fields(`chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable
	net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct
	sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override
	mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore`)

// UnmarshalText reads a name such as cap_net_raw.
func (c *Capability) UnmarshalText(text []byte) error {
	for number, name := range capabilities {
		if string(text) == "cap_"+name {
			*c = Capability(number)
			return nil
		}
	}
	return fmt.Errorf("%q is not a capability; wanted one such as cap_net_raw", text)
}
