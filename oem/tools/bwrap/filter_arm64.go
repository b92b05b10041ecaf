package bwrap

import "golang.org/x/sys/unix"

const nativeArch = unix.AUDIT_ARCH_AARCH64

// refusedHere are what is left of old kernels on this architecture.
var refusedHere = [...]uint32{unix.SYS_NFSSERVCTL, unix.SYS_LOOKUP_DCOOKIE}
