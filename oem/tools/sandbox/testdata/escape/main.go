// Escape tries one way out of a sandbox, and ends with status 0 if it is open, 1 if it is closed. Without arguments it lists the ways.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ways return nil if they are open. Where a way has an argument, it is os.Args[2].
var ways = map[string]func() error{
	// Namespaces and mounts.
	"unshare a user namespace":    func() error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0, unix.EINVAL) },
	"unshare a mount namespace":   func() error { return unix.Unshare(unix.CLONE_NEWNS) },
	"clone into a user namespace": clone,
	"clone3":                      func() error { return raw(unix.SYS_CLONE3, 0, 0, 0, unix.EINVAL) },
	"setns to its own namespace":  setns,
	"a new mount":                 func() error { return raw(unix.SYS_FSOPEN, pointer("tmpfs\x00"), 0, 0) },
	"a copy of a mount":           func() error { return raw(unix.SYS_OPEN_TREE, ^uintptr(99), pointer("/\x00"), unix.OPEN_TREE_CLONE) },
	"chroot":                      func() error { return unix.Chroot("/") },
	"a file's handle": func() error {
		_, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/", 0)
		return err
	},
	// Kernel interfaces.
	"io_uring": func() error { return raw(unix.SYS_IO_URING_SETUP, 1, pointer(strings.Repeat("\x00", 256)), 0) },
	"bpf": func() error {
		return raw(unix.SYS_BPF, 0, pointer(string([]byte{1, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0})+strings.Repeat("\x00", 64)), 72)
	},
	"userfaultfd":      func() error { return raw(unix.SYS_USERFAULTFD, 1 /* UFFD_USER_MODE_ONLY */, 0, 0) },
	"perf events":      perf,
	"fanotify":         func() error { return raw(unix.SYS_FANOTIFY_INIT, unix.FAN_CLASS_NOTIF, 0, 0) },
	"ptrace":           func() error { return raw(unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0) },
	"another's memory": anothersMemory,
	"the kernel's log": func() error { _, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil); return err },
	"loading a module": func() error { return raw(unix.SYS_INIT_MODULE, pointer("no module"), 9, pointer("\x00"), unix.ENOEXEC) },
	"kexec":            func() error { return raw(unix.SYS_KEXEC_FILE_LOAD, ^uintptr(0), ^uintptr(0), 0, unix.EBADF) },
	"setting the clock": func() error {
		return raw(unix.SYS_CLOCK_SETTIME, unix.CLOCK_MONOTONIC, pointer(strings.Repeat("\x00", 16)), 0, unix.EINVAL)
	},
	"a newer system call": func() error { return raw(unix.SYS_LISTNS, 0, 0, 0, unix.EFAULT, unix.EINVAL) },
	// Keyrings.
	"the session keyring": func() error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false); return err },
	"adding a key": func() error {
		_, err := unix.AddKey("user", "escape", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
		return err
	},
	// Sockets.
	"vsock":               func() error { return socket(unix.AF_VSOCK, unix.SOCK_STREAM) },
	"netlink":             func() error { return socket(unix.AF_NETLINK, unix.SOCK_RAW) },
	"the kernel's crypto": func() error { return socket(unix.AF_ALG, unix.SOCK_SEQPACKET) },
	"packets":             func() error { return socket(unix.AF_PACKET, unix.SOCK_RAW) },
	"an abstract socket of the host": func() error {
		s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return unix.Connect(s, &unix.SockaddrUnix{Name: os.Args[2]})
	},
	// Terminals.
	"typing into a terminal": terminal,
	// Files.
	"pid 1's root":                 func() error { return opens("/proc/1/root" + os.Args[2]) },
	"its own root":                 func() error { return opens("/proc/self/root" + os.Args[2]) },
	"the directory above an input": func() error { return opens("/recipe/.." + os.Args[2]) },
	"many directories above":       func() error { return opens("/recipe/" + strings.Repeat("../", 40) + os.Args[2][1:]) },
	"an inherited file":            inherited,
	"a loop device":                func() error { return opens("/dev/loop-control") },
	"the host's memory":            func() error { return opens("/proc/kcore") },
	"a control group's agent":      func() error { return writes("/sys/fs/cgroup") },
	"the kernel's core helper":     func() error { return writes("/proc/sys/kernel/core_pattern") },
	"the kernel's magic keys":      func() error { return writes("/proc/sysrq-trigger") },
	"a device node":                device,
	"another user":                 func() error { return unix.Setuid(12345) },
	"the user root":                func() error { return unix.Setresuid(0, 0, 0) },
	// Limits.
	"512 MiB of memory": func() error {
		_, err := unix.Mmap(-1, 0, 512<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		return err
	},
	"a file of 512 MiB": func() error { return sparse(512 << 20) },
	"3000 processes":    processes,
	"a core file":       func() error { return limit(unix.RLIMIT_CORE, 1) },
	"raising a limit": func() error {
		return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	},
	"a program for 32-bit systems": int80,
}

func main() {
	runtime.LockOSThread() // a child that is cloned below has one thread
	if len(os.Args) < 2 {
		fmt.Println(strings.Join(slices.Sorted(maps.Keys(ways)), "\n"))
		return
	}
	if os.Args[1] == "wait" {
		time.Sleep(20 * time.Second)
		return
	}
	if err := ways[os.Args[1]](); err != nil {
		fmt.Fprintln(os.Stderr, "closed:", err)
		os.Exit(1)
	}
}

// raw makes a system call. Errors that say that it was looked at are as good as success.
func raw(call, a, b, c uintptr, open ...unix.Errno) error {
	_, _, err := unix.Syscall6(call, a, b, c, 0, 0, 0)
	if err == 0 || slices.Contains(open, err) {
		return nil
	}
	return err
}

func pointer(text string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(text))) }

func socket(family, kind int) error {
	_, err := unix.Socket(family, kind, 0)
	return err
}

func opens(name string) error {
	f, err := os.Open(name)
	if err == nil {
		f.Close()
	}
	return err
}

func writes(name string) error { return unix.Access(name, unix.W_OK) }

func clone() error {
	pid, _, err := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if err != 0 {
		return err
	}
	if pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	return nil
}

func setns() error {
	f, err := os.Open("/proc/self/ns/ipc")
	if err != nil {
		return err
	}
	return unix.Setns(int(f.Fd()), unix.CLONE_NEWIPC)
}

func perf() error {
	_, err := unix.PerfEventOpen(&unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Bits: unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv,
	}, 0, -1, -1, 0)
	return err
}

func anothersMemory() error {
	child := exec.Command(os.Args[0], "wait")
	if err := child.Start(); err != nil {
		return err
	}
	defer child.Process.Kill() //nolint:errcheck // it ends by itself
	var there [8]byte
	local := []unix.Iovec{{Base: &there[0], Len: 8}}
	_, err := unix.ProcessVMReadv(child.Process.Pid, local, []unix.RemoteIovec{{Base: 1, Len: 8}}, 0)
	if errors.Is(err, unix.EFAULT) {
		return nil // allowed, but nothing is there
	}
	return err
}

func terminal() error {
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	number, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		return err
	}
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return err
	}
	pts, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	_, _, failed := unix.Syscall(unix.SYS_IOCTL, pts.Fd(), unix.TIOCSTI, pointer("x"))
	if failed == 0 || failed == unix.EIO {
		return nil // EIO: this kernel has no such call for users (tty.legacy_tiocsti)
	}
	return failed
}

func inherited() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		target, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err != nil || strings.HasPrefix(target, "anon_inode") || entry.Name() <= "2" && len(entry.Name()) == 1 {
			continue // the runtime's own, and what every program has
		}
		if !strings.HasPrefix(target, "/proc/") {
			return nil
		}
	}
	return fs.ErrNotExist
}

func sparse(length int64) error {
	f, err := os.Create("/tmp/escape-sparse")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	return f.Truncate(length)
}

func processes() error {
	var started []int
	defer func() {
		for _, pid := range started {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}()
	for range 3000 {
		pid, _, err := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if err != 0 {
			return err
		}
		if pid == 0 {
			for {
				unix.RawSyscall(unix.SYS_PPOLL, 0, 0, 0)
			}
		}
		started = append(started, int(pid))
	}
	return nil
}

// limit is open unless the limit is at most so much.
func limit(resource int, most uint64) error {
	var l unix.Rlimit
	if err := unix.Getrlimit(resource, &l); err != nil {
		return err
	}
	if l.Max <= most {
		return fmt.Errorf("limited to %d", l.Max)
	}
	return nil
}

func device() error {
	const name = "/tmp/escape-node"
	defer os.Remove(name)
	return unix.Mknod(name, unix.S_IFBLK|0o600, 7<<8)
}
