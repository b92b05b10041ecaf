package bwrap

import "golang.org/x/sys/unix"

const nativeArch = unix.AUDIT_ARCH_X86_64

// refusedHere are system calls that only this architecture has: ports, segments, and what is left of old kernels.
var refusedHere = [...]uint32{
	unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_USELIB, unix.SYS__SYSCTL, unix.SYS_NFSSERVCTL, unix.SYS_LOOKUP_DCOOKIE,
	unix.SYS_CREATE_MODULE, unix.SYS_USTAT, unix.SYS_SYSFS,
}
