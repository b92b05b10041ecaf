package bwrap

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// refused are system calls that no tool needs: they reach beyond a process's own files, memory and children, configure the machine,
// or are so large and new that their mistakes are what is used to leave a sandbox.
var refused = [...]uint32{
	// Asynchronous work and programs in the kernel, and handling of other processes' faults.
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_BPF, unix.SYS_USERFAULTFD, unix.SYS_PERF_EVENT_OPEN,
	// Keyrings: they are shared with whoever has the same user.
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	// Other processes.
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD,
	// Mounts, roots and namespaces; see filter for clone and unshare.
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_SETNS, unix.SYS_OPEN_TREE, unix.SYS_OPEN_TREE_ATTR,
	unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSPICK, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_MOUNT_SETATTR,
	unix.SYS_STATMOUNT, unix.SYS_LISTMOUNT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_FANOTIFY_INIT,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
	// The machine: kernel, modules, clock, swap, names, log, terminals.
	unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_REBOOT,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX, unix.SYS_SWAPON, unix.SYS_SWAPOFF,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_ACCT, unix.SYS_SYSLOG, unix.SYS_VHANGUP,
}

// last is the newest system call that was considered for refused. Later ones fail as on a kernel without them.
const last = unix.SYS_FILE_SETATTR

// namespaces are the flags of clone(2) and unshare(2) that make any.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS |
	unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME

// Places in struct seccomp_data (seccomp(2)). Of an argument, the lower half comes first on both architectures.
const (
	callOffset     = 0
	archOffset     = 4
	argumentOffset = 16
)

// Verdicts of a filter (seccomp(2)).
const (
	allow   = uint32(unix.SECCOMP_RET_ALLOW)
	denied  = uint32(unix.SECCOMP_RET_ERRNO | unix.EPERM)
	unknown = uint32(unix.SECCOMP_RET_ERRNO | unix.ENOSYS)
	family  = uint32(unix.SECCOMP_RET_ERRNO | unix.EAFNOSUPPORT)
)

// filter returns the sandbox's filter of system calls, as bwrap(1) reads it. Foreign calling conventions (32-bit programs, x32)
// have numbers of their own and are refused as a whole.
func filter() []byte {
	f := program{}
	f.load(archOffset)
	f.jump(unix.BPF_JEQ, nativeArch, 1, 0)
	f.verdict(unknown)
	f.load(callOffset)
	f.jump(unix.BPF_JGT, last, 0, 1)
	f.verdict(unknown)
	for _, call := range append(refused[:], refusedHere[:]...) {
		f.jump(unix.BPF_JEQ, call, 0, 1)
		f.verdict(denied)
	}
	// A filter cannot read the flags of clone3, which are in memory. The C library falls back to clone where it is missing.
	f.jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1)
	f.verdict(unknown)
	for _, call := range []uint32{unix.SYS_CLONE, unix.SYS_UNSHARE} {
		f.argument(call, 0, func() {
			f.jump(unix.BPF_JSET, namespaces, 0, 1)
			f.verdict(denied)
		})
	}
	// A network namespace does not cover all families: vsock reaches the hypervisor, netlink the kernel.
	for _, call := range []uint32{unix.SYS_SOCKET, unix.SYS_SOCKETPAIR} {
		f.argument(call, 0, func() {
			f.jump(unix.BPF_JEQ, unix.AF_UNIX, 3, 0)
			f.jump(unix.BPF_JEQ, unix.AF_INET, 2, 0)
			f.jump(unix.BPF_JEQ, unix.AF_INET6, 1, 0)
			f.verdict(family)
		})
	}
	// A terminal would take these as typed by its user.
	f.argument(unix.SYS_IOCTL, 1, func() {
		f.jump(unix.BPF_JEQ, unix.TIOCSTI, 1, 0)
		f.jump(unix.BPF_JEQ, unix.TIOCLINUX, 0, 1)
		f.verdict(denied)
	})
	f.verdict(allow)
	return f.bytes()
}

// program is a classic BPF program that is being written (kernel documentation, networking/filter).
type program []unix.SockFilter

func (p *program) load(offset uint32) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

// jump compares what was loaded, and skips so many instructions.
func (p *program) jump(how uint16, with uint32, ifTrue, ifFalse uint8) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | how, K: with, Jt: ifTrue, Jf: ifFalse})
}

func (p *program) verdict(v uint32) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: v})
}

// argument has a system call judged by the lower half of an argument. What the rules say nothing about is allowed.
func (p *program) argument(call uint32, n uint32, rules func()) {
	start := len(*p)
	p.jump(unix.BPF_JEQ, call, 0, 0)
	p.load(argumentOffset + 8*n)
	rules()
	p.verdict(allow)
	(*p)[start].Jf = uint8(len(*p) - start - 1)
}

func (p *program) bytes() []byte {
	var out bytes.Buffer
	if err := binary.Write(&out, binary.NativeEndian, []unix.SockFilter(*p)); err != nil {
		panic(err) // the type has a fixed size
	}
	return out.Bytes()
}
