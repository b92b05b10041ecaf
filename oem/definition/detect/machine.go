package detect

// Machine is the markers of one machine, trimmed of space. Missing ones are empty.
type Machine struct {
	DMI             map[Field]string
	Virt            Virt
	KernelArguments []string
	DiskLabels      []string
	Hypervisor      struct{ Type, UUID string }
}
