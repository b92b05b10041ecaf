// Package vm boots a release in QEMU, which comes from a tool root, and asks the running system about itself.
//
// The image under test is not changed for that: a unit and its script travel as systemd credentials (systemd 256 or newer),
// files on a disk of their own, and the answer comes back over a second serial port. There is no network,
// and what the guest writes is thrown away unless it is to be kept.
package vm

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/kernel"
)

// Machine is a virtual machine that boots once.
type Machine struct {
	Accel     Accel
	Kernel    string
	Initrd    string            // none when empty
	Disk      string            // a raw disk image; only read, unless Keep is set
	Keep      bool              // what the guest writes to the disk
	Arguments []string          // of the kernel, beyond console and harness
	SMBIOS    []string          // further values of QEMU's -smbios, such as type=1,manufacturer=Hetzner
	Files     map[string]string // contents by name; the script finds them as /run/vm/NAME
	Config    map[string]string // what stands in for Ignition writes below the root directory, as of Root
	Script    string            // a script of bash that runs once all is up; it prints one JSON document
	Dir       string            // an existing directory for console.log and report.json, which stay
	Timeout   time.Duration     // for the boot and the script
	Waiting   func(line string) // called each minute with the last line on the console, if that is another one; may be nil
	Watch     func(line string) // called with each line on the console; may be nil
}

// ConsoleFile is where the console of a machine is kept, in its directory.
const ConsoleFile = "console.log"

// waitingInterval is how often one who waits for a machine is told how far it is.
const waitingInterval = time.Minute

// watchInterval is how often one who watches a console is told what has come.
const watchInterval = 200 * time.Millisecond

// memory of every machine is what a small cloud machine has.
const memory = 1536 * size.MiB

// reportUnit starts the script when all other units have been started, and turns the machine off after it.
// The pipe keeps programs from colouring what they think goes to a terminal.
func (b board) reportUnit() string {
	return `[Unit]
Description=Report to the one who started this machine
After=multi-user.target
[Service]
Type=exec
ImportCredential=vm.*
ExecStartPre=-/bin/sh -c 'mkdir -p /run/vm && tar --extract --directory=/run/vm --file=/dev/disk/by-id/virtio-vm-files'
ExecStart=/bin/sh -c '/bin/bash ${CREDENTIALS_DIRECTORY}/vm.script | cat'
ExecStopPost=/usr/bin/systemctl poweroff --force --force
StandardOutput=file:/dev/` + b.serial + `1
StandardError=journal+console
`
}

// harnessArguments make the console readable, failures final, and the report start.
func (b board) harnessArguments() []string {
	return []string{
		"TERM=dumb", "console=" + b.serial + "0,115200", "quiet", "systemd.show_status=1", // the service manager's lines, without the kernel's
		"panic=-1", // at once, which ends the machine
		"systemd.wants=vm-report.service",
	}
}

// Run boots the machine and returns what its script printed. A machine that ends without that, or not in time,
// is an error that says how far it got and where its console is kept.
//
// An emulated machine whose kernel runs into an exception, or whose emulator gives itself up, is started once more: once in some hundred
// boots that is the emulator's.
func Run(ctx context.Context, m Machine) (json.RawMessage, error) {
	if err := m.makeAbsolute(); err != nil {
		return nil, err
	}
	if err := m.writeFiles(); err != nil {
		return nil, err
	}
	if m.Accel.Name == tcg && m.Accel.board.unpacks {
		defer os.Remove(m.unpackedKernel())
		if err := m.unpackKernel(); err != nil {
			return nil, err
		}
	}
	answer, err := m.run(ctx)
	if err != nil && m.Accel.Name == tcg && (strings.Contains(err.Error(), "Fatal exception") || aborted(err)) {
		return m.run(ctx)
	}
	return answer, err
}

// aborted tells whether a program ended itself, as one does that finds itself in a state it cannot be in. Bubblewrap says so as a shell does.
func aborted(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == 128+int(unix.SIGABRT)
}

// run boots the machine, whose files have been written.
func (m Machine) run(ctx context.Context) (json.RawMessage, error) {
	console, report := filepath.Join(m.Dir, ConsoleFile), filepath.Join(m.Dir, "report.json")
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	read, write := []string{m.Kernel}, []string(nil)
	if m.Initrd != "" {
		read = append(read, m.Initrd)
	}
	if m.Keep {
		write = append(write, m.Disk)
	} else {
		read = append(read, m.Disk)
	}
	err := follow(console, m.Waiting, func() error {
		return watch(console, m.Watch, func() error {
			return m.Accel.run(ctx, m.Dir, append(m.hardware(), "-serial", "file:"+console, "-serial", "file:"+report), read, write)
		})
	})
	var failed *run.Error
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("no report after %v (%w); %s", time.Since(started).Round(time.Second), ctx.Err(), progress(console))
	case errors.As(err, &failed): // its arguments are long
		return nil, fmt.Errorf("%s: %w: %s; %s", m.Accel.board.program, failed.Err, failed.Stderr, progress(console))
	}
	content, err := os.ReadFile(report)
	if err != nil {
		return nil, err
	}
	if !json.Valid(content) {
		return nil, fmt.Errorf("the machine ended without a report; %s", progress(console))
	}
	return content, nil
}

// makeAbsolute makes the paths those that QEMU sees.
func (m *Machine) makeAbsolute() (err error) {
	for _, path := range []*string{&m.Kernel, &m.Initrd, &m.Disk, &m.Dir} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	return nil
}

func (m Machine) unpackedKernel() string { return filepath.Join(m.Dir, "vmlinux") }

// unpackKernel makes the machine start with what its kernel would unpack first, if there is such a thing: emulated, that takes some
// three seconds of a boot's seventy.
func (m *Machine) unpackKernel() error {
	packed, err := os.Open(m.Kernel)
	if err != nil {
		return err
	}
	defer packed.Close()
	program, err := os.Create(m.unpackedKernel())
	if err != nil {
		return err
	}
	defer program.Close()
	unpacked, err := kernel.Unpack(packed, program)
	if err != nil {
		return err
	}
	if unpacked {
		m.Kernel = program.Name()
	}
	return program.Close()
}

func (m Machine) filesDisk() string { return filepath.Join(m.Dir, "files.tar") }

func (m Machine) configDisk() string { return filepath.Join(m.Dir, "config.tar") }

// writeFiles makes the disks with the machine's files and with its configuration.
func (m Machine) writeFiles() error {
	err := writeArchive(m.filesDisk(), m.Files)
	if err == nil && len(m.Config) > 0 {
		err = writeArchive(m.configDisk(), m.Config)
	}
	return err
}

// writeArchive writes files to a tar archive. Names that end in a slash are directories, contents that begin with -> links.
func writeArchive(to string, files map[string]string) error {
	var content bytes.Buffer
	archive := tar.NewWriter(&content)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(files[name]))}
		target, isLink := strings.CutPrefix(files[name], "->")
		switch {
		case strings.HasSuffix(name, "/"):
			h.Mode, h.Typeflag, h.Size = 0o755, tar.TypeDir, 0
		case isLink:
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, target, 0
		}
		if err := archive.WriteHeader(h); err != nil {
			return err
		}
		if h.Size == 0 {
			continue
		}
		if _, err := archive.Write([]byte(files[name])); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return os.WriteFile(to, content.Bytes(), 0o600)
}

func (m Machine) hardware() []string {
	boot := []string{"-kernel", m.Kernel}
	if m.Initrd != "" {
		boot = append(boot, "-initrd", m.Initrd)
	}
	snapshot := "on"
	if m.Keep {
		snapshot = "off"
	}
	b := m.Accel.board
	args := slices.Concat(b.machine, []string{
		"-smp", strconv.Itoa(m.Accel.processors), "-m", strconv.Itoa(int(memory / size.MiB)),
		"-nodefaults", "-no-user-config", "-display", "none", "-nic", "none",
		"-no-reboot", // a machine that restarts has failed
		"-append", strings.Join(slices.Concat(m.Arguments, b.harnessArguments(), m.Accel.kernelArguments), " "),
		"-drive", "if=virtio,format=raw,snapshot=" + snapshot + ",file=" + strings.ReplaceAll(m.Disk, ",", ",,"),
		"-drive", "if=none,id=files,format=raw,readonly=on,file=" + strings.ReplaceAll(m.filesDisk(), ",", ",,"),
		"-device", "virtio-blk-pci,drive=files,serial=vm-files",
		"-device", "virtio-rng-pci",
		// the port of QEMU's guest agent, with nobody at the other end
		"-device", "virtio-serial-pci", "-chardev", "null,id=agent", "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
	}, boot)
	if len(m.Config) > 0 {
		args = append(args,
			"-drive", "if=none,id=config,format=raw,readonly=on,file="+strings.ReplaceAll(m.configDisk(), ",", ",,"),
			"-device", "virtio-blk-pci,drive=config,serial=ignition")
	}
	for _, value := range m.SMBIOS {
		args = append(args, "-smbios", value)
	}
	args = append(args,
		"-smbios", Credential("systemd.extra-unit.vm-report.service", b.reportUnit()),
		"-smbios", Credential("vm.script", m.Script))
	return args
}

// Credential is a value of SMBIOS that passes a file to the guest's service manager (systemd.system-credentials(7), systemd-debug-generator(8)).
func Credential(name, content string) string {
	return "type=11,value=io.systemd.credential.binary:" + name + "=" + base64.StdEncoding.EncodeToString([]byte(content))
}

// follow calls say, unless it is nil, each waitingInterval with what has become the last line on a console while a machine boots.
func follow(console string, say func(line string), boot func() error) error {
	if say == nil {
		return boot()
	}
	said := ""
	return meanwhile(boot, waitingInterval, func() {
		if line, err := lastLine(console); err == nil && line != said {
			said = line
			say(line)
		}
	})
}

// watch calls say, unless it is nil, with each line that comes on a console while a machine boots.
func watch(console string, say func(line string), boot func() error) error {
	if say == nil {
		return boot()
	}
	if err := os.WriteFile(console, nil, 0o644); err != nil { // an earlier boot may have left one
		return err
	}
	f, err := os.Open(console)
	if err != nil {
		return err
	}
	defer f.Close()
	in, begun := bufio.NewReader(f), ""
	read := func() {
		for {
			text, err := in.ReadString('\n')
			begun += text
			if err != nil { // no more for now
				return
			}
			say(strings.TrimRight(begun, "\r\n"))
			begun = ""
		}
	}
	err = meanwhile(boot, watchInterval, read)
	read()
	return err
}

// meanwhile does something again and again while work is done.
func meanwhile(work func() error, interval time.Duration, do func()) error {
	ended := make(chan struct{})
	var doing sync.WaitGroup
	doing.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ended:
				return
			case <-ticker.C:
				do()
			}
		}
	})
	err := work()
	close(ended)
	doing.Wait()
	return err
}

// progress says how far a boot got.
func progress(console string) string {
	line, err := lastLine(console)
	if err != nil {
		return "it has no console: " + err.Error()
	}
	return fmt.Sprintf("the last line on its console (%s) is: %s", console, line)
}

// lastLine returns the last line of a console that says something.
func lastLine(console string) (string, error) {
	content, err := os.ReadFile(console)
	if err != nil {
		return "", err
	}
	last := "nothing"
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); line != "" {
			last = line
		}
		if strings.Contains(line, "Kernel panic") {
			break // what follows are registers
		}
	}
	return last, nil
}
