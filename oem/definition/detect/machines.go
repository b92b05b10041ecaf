package detect

import (
	_ "embed"
	"slices"
	"strings"
	"sync"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

//go:embed machines.yaml
var machinesFile []byte

// Known is a machine whose platform is known, with what it shows.
type Known struct {
	Line       strictyaml.Line
	Is         string           `yaml:"is"`    // its platform; none of ours if empty
	Maybe      []string         `yaml:"maybe"` // platforms that it cannot be told from
	Why        string           `yaml:"why"`   // for people
	Source     string           `yaml:"source,required"`
	DMI        map[Field]string `yaml:"dmi"`
	Virt       string           `yaml:"virt"`
	Arguments  []string         `yaml:"kernel_arguments"`
	Labels     []string         `yaml:"disk_labels"`
	Hypervisor struct {
		Type string `yaml:"type"`
		UUID string `yaml:"uuid"`
	} `yaml:"hypervisor"`
}

// Machine returns what the machine shows.
func (k Known) Machine() Machine {
	m := Machine{DMI: k.DMI, Virt: Virt(k.Virt), KernelArguments: k.Arguments, DiskLabels: k.Labels}
	m.Hypervisor.Type, m.Hypervisor.UUID = k.Hypervisor.Type, k.Hypervisor.UUID
	return m
}

// String names the machine by what it shows.
func (k Known) String() string {
	var shown []string
	for _, field := range fields {
		if value := k.DMI[field]; value != "" {
			shown = append(shown, string(field)+" "+value)
		}
	}
	if k.Virt != "" {
		shown = append(shown, "virt "+k.Virt)
	}
	return strings.Join(slices.Concat(shown, k.Arguments, k.Labels), ", ")
}

// Machines are machines that are known, from public reports and the sources of programs that detect clouds.
var Machines = sync.OnceValues(func() ([]Known, error) {
	var file struct {
		Machines []Known `yaml:"machines,required"`
	}
	err := strictyaml.Decode("oem/definition/detect/machines.yaml", machinesFile, &file).Err()
	return file.Machines, err
})
