package detect

// Machine is the markers of one machine, without space around them. What it lacks is empty.
type Machine struct {
	DMI             map[Field]string
	Virt            Virt
	KernelArguments []string
	DiskLabels      []string
	Hypervisor      struct{ Type, UUID string }
}
