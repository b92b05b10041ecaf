package definition

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/detect"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
)

// markers are what machines show, by the file of /sys/class/dmi/id or by the name of another marker.
type markers map[string]string

func (ms markers) machine() detect.Machine {
	m := detect.Machine{DMI: map[detect.Field]string{}}
	for name, value := range ms {
		switch name {
		case "virt":
			m.Virt = detect.Virt(value)
		case "argument":
			m.KernelArguments = []string{"quiet", value}
		case "label":
			m.DiskLabels = []string{"ROOT", value}
		case "hypervisor":
			m.Hypervisor.Type = value
		case "hypervisor uuid":
			m.Hypervisor.UUID = value
		default:
			m.DMI[detect.Field(name)] = value
		}
	}
	return m
}

// What machines of each platform show, gathered from cloud-init's ds-identify, systemd, virt-what and from machines.
func TestDetection(t *testing.T) {
	platforms, err := Platforms(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	var candidates []detect.Candidate
	for _, p := range platforms {
		candidates = append(candidates, p.Candidate())
	}
	const azureTag = "7783-7084-3265-9085-8269-3286-77"
	sure := func(id string) detect.Verdict { return detect.Verdict{ID: id} }
	or := func(id string, maybe ...string) detect.Verdict { return detect.Verdict{ID: id, Maybe: maybe} }
	likeQEMU := or("qemu", "kubevirt", "proxmoxve", "vagrant")
	likeVMware := or("vmware", "cloudstack", "openstack", "vagrant")
	likeOpenStack := or("openstack", "stackit")
	i440fx := "Standard PC (i440FX + PIIX, 1996)"
	for _, c := range []struct {
		machine markers
		want    detect.Verdict
	}{
		{markers{"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine", "chassis_asset_tag": azureTag, "virt": "microsoft"}, sure("azure")},
		{markers{"sys_vendor": "Another Maker", "chassis_asset_tag": azureTag}, sure("azure")},
		{markers{"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine", "virt": "microsoft"}, sure("hyperv")},
		{markers{"sys_vendor": "Microsoft Corporation", "product_name": "Surface Pro"}, detect.Verdict{}},
		{markers{"sys_vendor": "Google", "product_name": "Google Compute Engine", "virt": "kvm"}, sure("gce")},
		{markers{"product_serial": "GoogleCloud-0123456789ABCDEF"}, sure("gce")},
		{markers{"virt": "google"}, sure("gce")},
		{markers{"sys_vendor": "Amazon EC2", "product_name": "m5.large", "virt": "amazon"}, sure("ami")},
		{markers{"board_vendor": "Amazon EC2"}, sure("ami")},
		{markers{"bios_vendor": "Amazon EC2"}, sure("ami")},
		{markers{"virt": "amazon"}, sure("ami")},
		{markers{"sys_vendor": "Xen", "virt": "xen", "hypervisor": "xen", "hypervisor uuid": "ec2e1916-9099-7caf-fd21-012345abcdef"}, sure("ami")},
		{markers{"sys_vendor": "Xen", "virt": "xen", "product_uuid": "EC2E1916-9099-7CAF-FD21-012345ABCDEF"}, sure("ami")},
		{markers{"sys_vendor": "Xen", "virt": "xen", "product_uuid": "45E12AEC-DCD1-B213-94ED-012345ABCDEF"}, sure("ami")},
		{markers{"product_uuid": "EC2E1916-9099", "product_serial": "ec2e1916-9099"}, sure("ami")},
		{markers{"sys_vendor": "QEMU", "virt": "kvm", "product_uuid": "ec2e1916-9099-7caf-fd21-012345abcdef"}, likeQEMU},
		{markers{"virt": "xen", "hypervisor": "xen", "hypervisor uuid": "01234567-9099"}, detect.Verdict{}},
		{markers{"sys_vendor": "DigitalOcean", "product_name": "Droplet", "virt": "kvm"}, sure("digitalocean")},
		{markers{"sys_vendor": "OpenStack Foundation", "product_name": "OpenStack Nova", "virt": "kvm"}, likeOpenStack},
		{markers{"product_name": "OpenStack Compute"}, likeOpenStack},
		{markers{"chassis_asset_tag": "OpenStack Nova", "virt": "kvm"}, likeOpenStack},
		{markers{"chassis_asset_tag": "OpenStack Compute"}, likeOpenStack},
		{markers{"chassis_asset_tag": "OpenTelekomCloud"}, likeOpenStack},
		{markers{"chassis_asset_tag": "SAP CCloud VM", "sys_vendor": "VMware, Inc.", "virt": "vmware"}, likeOpenStack},
		{markers{"chassis_asset_tag": "HUAWEICLOUD", "sys_vendor": "QEMU"}, likeOpenStack},
		{markers{"chassis_asset_tag": "Samsung Cloud Platform"}, likeOpenStack},
		{markers{"label": "config-2"}, likeOpenStack},
		{markers{"label": "CONFIG-2"}, likeOpenStack},
		{markers{"label": "config-2", "sys_vendor": "Nutanix", "product_name": "AHV"}, sure("nutanix")},
		{markers{"label": "config-2", "sys_vendor": "QEMU"}, likeQEMU},
		{markers{"virt": "vmware"}, likeVMware},
		{markers{"sys_vendor": "VMware, Inc.", "product_name": "VMware7,1"}, likeVMware},
		{markers{"sys_vendor": "Hetzner", "product_name": "vServer", "bios_vendor": "Hetzner"}, sure("hetzner")},
		{markers{"bios_vendor": "Hetzner"}, sure("hetzner")},
		{markers{"sys_vendor": "Akamai"}, sure("akamai")},
		{markers{"sys_vendor": "Linode", "product_name": "Compute Instance"}, sure("akamai")},
		{markers{"sys_vendor": "Scaleway", "product_name": "SCW-DEV1-S"}, sure("scaleway")},
		{markers{"argument": "scaleway", "sys_vendor": "QEMU"}, sure("scaleway")},
		{markers{"argument": "scaleway.x"}, detect.Verdict{}},
		{markers{"sys_vendor": "QEMU", "product_name": i440fx, "chassis_asset_tag": "OracleCloud.com", "virt": "kvm"}, sure("oraclecloud")},
		{markers{"sys_vendor": "Exoscale", "product_name": "Exoscale Compute Platform"}, sure("exoscale")},
		{markers{"sys_vendor": "Apache Software Foundation", "product_name": "CloudStack KVM Hypervisor"}, sure("cloudstack")},
		{markers{"sys_vendor": "Nutanix", "product_name": "AHV", "virt": "kvm"}, sure("nutanix")},
		{markers{"sys_vendor": "Nutanix", "product_name": "NX-1065-G5"}, detect.Verdict{}}, // the hardware
		{markers{"sys_vendor": "KubeVirt", "product_family": "KubeVirt", "product_name": "None"}, sure("kubevirt")},
		{markers{"sys_vendor": "mine", "product_family": "KubeVirt"}, sure("kubevirt")},
		{markers{"sys_vendor": "QEMU", "product_name": i440fx, "bios_vendor": "Proxmox distribution of EDK II"}, sure("proxmoxve")},
		{markers{"sys_vendor": "QEMU", "product_name": i440fx, "bios_vendor": "SeaBIOS", "label": "cidata"}, likeQEMU},
		{markers{"sys_vendor": "QEMU", "product_name": "Standard PC (Q35 + ICH9, 2009)", "virt": "qemu"}, likeQEMU},
		{markers{"sys_vendor": "Red Hat", "product_name": "KVM Virtual Machine", "virt": "kvm"}, likeQEMU},
		{markers{"product_name": i440fx}, likeQEMU},
		{markers{"sys_vendor": "innotek GmbH", "product_name": "VirtualBox", "board_vendor": "Oracle Corporation", "virt": "oracle"}, or("virtualbox", "vagrant")},
		{markers{"virt": "oracle"}, or("virtualbox", "vagrant")},
		{markers{"sys_vendor": "CloudSigma", "product_name": "CloudSigma"}, sure("cloudsigma")},
		{markers{"sys_vendor": "Vultr"}, detect.Verdict{}},
		{markers{"sys_vendor": "UpCloud"}, detect.Verdict{}},
		{markers{"sys_vendor": "Alibaba Cloud", "product_name": "Alibaba Cloud ECS"}, detect.Verdict{}},
		{markers{"sys_vendor": "Supermicro", "product_name": "PIO-519C"}, detect.Verdict{}},
		{markers{"virt": "kvm"}, detect.Verdict{}},
		{markers{}, detect.Verdict{}},
	} {
		if diff := cmp.Diff(c.want, detect.Judge(c.machine.machine(), candidates)); diff != "" {
			t.Errorf("%v: %s", c.machine, diff)
		}
	}
}

// The boot loader names platforms by what Flatcar's images have in flatcar.oem.id=.
func TestKernelIDs(t *testing.T) {
	platforms, err := Platforms(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range platforms {
		want := p.ID.Value
		switch want {
		case "ami":
			want = "ec2"
		case "stackit":
			want = "openstack"
		}
		if p.KernelID.Value != want {
			t.Errorf("%s has the kernel id %s; want %s", p.ID, p.KernelID, want)
		}
	}
	for id, want := range map[string]string{"ec2": "ami", "openstack": "openstack", "azure": "azure"} {
		if got := platform.ByKernelID(platforms, id); got == nil || got.ID.Value != want {
			t.Errorf("%s leads to %v; want %s", id, got, want)
		}
	}
	if got := platform.ByKernelID(platforms, "ami"); got != nil {
		t.Errorf("ami leads to %v; it is no kernel id", got.ID)
	}
}
