package vm

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
)

// Accel is a QEMU, and how it runs the guest's instructions.
type Accel struct {
	Name            string
	board           board
	qemu            *toolroot.Root
	args            []string
	processors      int
	kernelArguments []string
}

const tcg = "tcg"

// TCG translates instructions. It works everywhere and takes some ten times as long as KVM.
//
// On amd64 two things make up a third of a boot there and are switched off. The string instructions that a kernel
// prefers on a processor with erms or fsrm are translated byte by byte; all kernels fill a page with them,
// and Debian's fills each page that it hands out (init_on_alloc). Five-level page tables (la57) make
// each miss of the translation buffer one step longer. What kernels do against spying processors is wasted on an emulated one.
//
// The kernel's tests of its ciphers, its long waits for other processors, and security modules, records and accounts that no cloud's
// tools need take, together with the hardware that machines here lack, a third of the rest: without all of it a proof of one machine
// takes 80 seconds of the host's processors instead of 117. A fifth of what is then left are a kernel that moves itself, prompts
// for a login, timers that are set for each moment anew, and modules for screens, mice, radios, chipsets, and for cipher
// instructions, which save nothing where they are emulated. A fifth again is what coldplug leaves out, and a twentieth each the units
// that no tool asks for and the confinement of systemd's own services. Without smap the kernel does not say each time when it looks
// at memory of a program, which ends a piece of translated code.
func TCG(qemu *toolroot.Root, a arch.Arch) Accel {
	b := boards[a]
	arguments := []string{
		"init_on_alloc=0", "mitigations=off",
		"cryptomgr.notests", "rcupdate.rcu_expedited=1", "audit=0", "lsm=lockdown,yama,integrity", "psi=0", "cgroup.memory=nokmem",
		"nokaslr", "highres=off", "nohz=off", "systemd.getty_auto=no", "modprobe.blacklist=" + strings.Join(slices.Concat(b.needless, needless), ","),
		// On a busy host what takes seconds takes minutes, and is no failure for that (systemd(1), kernel command line).
		"systemd.default_device_timeout_sec=300", "systemd.default_timeout_start_sec=300",
	}
	for _, unit := range unasked {
		arguments = append(arguments, "systemd.mask="+unit)
	}
	args := []string{"-accel", "tcg,thread=multi", "-cpu", b.processor, "-smbios", dropIn("systemd-udev-trigger.service", coldplug())}
	for _, unit := range confined {
		args = append(args, "-smbios", dropIn(unit, unconfined))
	}
	return Accel{
		Name:            tcg,
		board:           b,
		qemu:            qemu,
		args:            args,
		processors:      2,
		kernelArguments: arguments,
	}
}

// needless are modules that a kernel loads for an emulated machine, and nothing there needs.
var needless = []string{"button", "cfg80211", "drm", "efi_pstore", "evdev"}

// unasked are units of a base that no tool asks for, and that would tell nothing about one if they failed: a console, file systems
// of the kernel, modules that are loaded when somebody uses them, and what is kept for another boot. Starting a program is what
// takes long where it is emulated. A kernel takes some 2000 characters of arguments.
var unasked = []string{
	"dev-hugepages.mount", "dev-mqueue.mount", "proc-sys-fs-binfmt_misc.automount", "sys-fs-fuse-connections.mount",
	"sys-kernel-debug.mount", "sys-kernel-tracing.mount",
	"getty@tty1.service", "modprobe@configfs.service", "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@fuse.service",
	"systemd-journal-flush.service", "systemd-networkd-persistent-storage.service", "systemd-random-seed.service",
	"systemd-udev-load-credentials.service",
}

// confined are systemd's own services that a base starts, some of them in its initramfs, too.
var confined = []string{
	"systemd-journald.service", "systemd-logind.service", "systemd-networkd.service", "systemd-resolved.service", "systemd-udevd.service",
}

// unconfined is a drop-in that takes from a service what it must not do: a filter of system calls for each of a dozen settings, file systems
// that are mounted for it alone, programs in the kernel that look at its packets and devices. What tools' own units ask for stays.
const unconfined = `[Service]
SystemCallFilter=
SystemCallArchitectures=
RestrictAddressFamilies=
RestrictNamespaces=no
RestrictRealtime=no
RestrictSUIDSGID=no
LockPersonality=no
MemoryDenyWriteExecute=no
ProtectClock=no
ProtectControlGroups=no
ProtectHome=no
ProtectHostname=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectKernelTunables=no
ProtectProc=default
ProtectSystem=no
PrivateDevices=no
PrivateTmp=no
DeviceAllow=
DevicePolicy=auto
IPAddressDeny=
`

// dropIn is a value of SMBIOS that changes a unit.
func dropIn(unit, content string) string { return Credential("systemd.unit-dropin."+unit, content) }

// plugged are the subsystems of the devices that a machine here has.
var plugged = []string{"block", "cpu", "dmi", "misc", "net", "pci", "platform", "rtc", "virtio", "virtio-ports"}

// coldplug is a drop-in that makes udev start, in an initramfs and in the running system, with the devices that a machine here has.
// It would look at some 550 otherwise, each time: at consoles, pieces of memory, all modules and all drivers, too.
func coldplug() string {
	return `[Service]
ExecStart=
ExecStart=-udevadm trigger --type=devices --action=add --prioritized-subsystem=block,net --subsystem-match=` +
		strings.Join(plugged, " --subsystem-match=") + "\n"
}

// Shared is for guests of which several run at a time. Emulated, each has one processor: with a second one a boot is over sooner,
// but takes a third more of the host's time, which the other guests can use.
func (a Accel) Shared() Accel {
	if a.Name == tcg {
		a.processors = 1
	}
	return a
}

// KVM uses the processor itself.
func KVM(qemu *toolroot.Root, a arch.Arch) Accel {
	return Accel{Name: "kvm", board: boards[a], qemu: qemu, args: []string{"-accel", "kvm", "-cpu", "host"}, processors: 2}
}

const kvmDevice = "/dev/kvm"

// run runs QEMU, which reads and writes files and a directory for what is temporary. All paths are absolute.
func (a Accel) run(ctx context.Context, dir string, args, read, write []string) error {
	return a.qemu.Run(ctx, toolroot.Cmd{
		Program: a.board.program, Args: slices.Concat(a.args, args),
		Read: read, Write: append(write, dir), Devices: []string{kvmDevice},
		Env: []string{"TMPDIR=" + dir},
	})
}

// probeTimeout is several times what KVM needs to boot a kernel.
const probeTimeout = 5 * time.Second

// Probe returns KVM where a kernel boots with it, else TCG, both in the QEMU of a tool root with Packages.
// That /dev/kvm opens proves nothing: with nested virtualisation a guest may hang in its firmware.
func Probe(ctx context.Context, qemu *toolroot.Root, a arch.Arch, kernel string) (Accel, error) {
	if string(a) != runtime.GOARCH { // the processor is another one
		return TCG(qemu, a), nil
	}
	device, err := os.OpenFile(kvmDevice, os.O_RDWR, 0)
	if err != nil {
		return TCG(qemu, a), nil
	}
	if err := device.Close(); err != nil {
		return Accel{}, err
	}
	if kernel, err = filepath.Abs(kernel); err != nil {
		return Accel{}, err
	}
	dir, err := os.MkdirTemp("", "vm-probe.*")
	if err != nil {
		return Accel{}, err
	}
	defer os.RemoveAll(dir)
	console := filepath.Join(dir, "console.log")
	short, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	// Without a root file system the kernel panics, and the machine ends.
	kvm := KVM(qemu, a)
	err = kvm.run(short, dir, append(slices.Clone(kvm.board.machine),
		"-nodefaults", "-display", "none", "-no-reboot", "-serial", "file:"+console,
		"-kernel", kernel, "-append", "console="+kvm.board.serial+"0 panic=-1",
	), []string{kernel}, nil)
	if ctx.Err() != nil {
		return Accel{}, ctx.Err()
	}
	output, readErr := os.ReadFile(console)
	if err == nil && readErr == nil && strings.Contains(string(output), "Kernel panic") {
		return kvm, nil
	}
	return TCG(qemu, a), nil
}
