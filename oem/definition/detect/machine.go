package detect

import (
	"io/fs"
	"strings"
)

// Machine is the markers of one machine, without space around them. What it lacks is empty.
type Machine struct {
	DMI             map[Field]string
	Virt            Virt
	KernelArguments []string
	DiskLabels      []string
	Hypervisor      struct{ Type, UUID string }
}

// Read reads the markers below a root directory, where /sys, /proc and /dev are. What cannot be read counts as not there:
// firmware need not tell, and a kernel without DMI has no such files. What systemd-detect-virt prints is added by the caller.
func Read(root fs.FS, virt string) Machine {
	m := Machine{DMI: map[Field]string{}, Virt: Virt(strings.TrimSpace(virt))}
	for _, field := range fields {
		if value := readLine(root, "sys/class/dmi/id/"+string(field)); value != "" {
			m.DMI[field] = value
		}
	}
	m.Hypervisor.Type = readLine(root, "sys/hypervisor/type")
	m.Hypervisor.UUID = readLine(root, "sys/hypervisor/uuid")
	m.KernelArguments = strings.Fields(readLine(root, "proc/cmdline"))
	labels, err := fs.ReadDir(root, "dev/disk/by-label") // links that udev makes
	if err != nil {
		return m
	}
	for _, label := range labels {
		m.DiskLabels = append(m.DiskLabels, label.Name())
	}
	return m
}

// readLine returns a file's content without the newline that the kernel adds and the spaces that firmware pads with.
func readLine(root fs.FS, name string) string {
	content, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.Trim(string(content), " \t\r\n\x00")
}
