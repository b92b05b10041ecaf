package vm

import "github.com/flatcar/oem-sysext/oem/host/arch"

// board is all that machines of one architecture have that those of another one have not.
type board struct {
	packages  []string // QEMU and firmware
	program   string
	machine   []string // arguments
	processor string   // that QEMU translates fast
	serial    string   // what the kernel calls serial ports, without their number
	needless  []string // modules, as the list of that name
	unpacks   bool     // its QEMU starts kernels that have been unpacked, too
}

var boards = map[arch.Arch]board{
	arch.AMD64: {
		packages:  []string{"qemu-system-x86"}, // which depends on its firmware
		program:   "qemu-system-x86_64",
		machine:   []string{"-machine", "q35,smbus=off,sata=off,hpet=off"}, // without what a kernel looks for long and no tool needs
		processor: "max,la57=off,erms=off,fsrm=off,smap=off,svm=off",
		serial:    "ttyS",
		needless: []string{
			"aesni_intel", "crc32_pclmul", "crct10dif_pclmul", "ghash_clmulni_intel", "sha1_ssse3", "sha256_ssse3", "sha512_ssse3",
			"iTCO_wdt", "lpc_ich", "pcspkr", "psmouse", "serio_raw",
		},
		unpacks: true,
	},
	// Of SMBIOS, which has a cloud's markers and the credentials, a kernel learns there by UEFI only, whose firmware loads it.
	// The processor is one of servers before signed pointers (pauth), which take QEMU long (its documentation, Arm CPU features).
	arch.ARM64: {
		packages:  []string{"qemu-system-arm", "qemu-efi-aarch64"},
		program:   "qemu-system-aarch64",
		machine:   []string{"-machine", "virt", "-bios", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"},
		processor: "neoverse-n1",
		serial:    "ttyAMA", // QEMU has had a second one since 9.1
	},
}

// Packages are what the tool root holds that machines of an architecture run in.
func Packages(a arch.Arch) []string { return boards[a].packages }
