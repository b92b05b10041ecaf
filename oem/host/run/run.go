// Package run runs external programs.
package run

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Cmd is one run of a program.
type Cmd struct {
	Program string   // a path, or a name that is looked up in PATH
	Name    string   // what errors call it; Program when empty. For programs that only start the one that matters
	Args    []string // without the program's own name
	Dir     string   // working directory; the caller's when empty
	Env     []string // the whole environment as NAME=value; nothing is inherited
	Stdin   io.Reader
	Stdout  io.Writer  // where standard output goes; dropped when nil
	Files   []*os.File // open in the program as 3, 4 and so on
}

// stderrKept is how much of the end of standard error an error message carries.
const stderrKept = 4 << 10

// credentials matches user and password in an address, as mirrors and module proxies may need them.
var credentials = regexp.MustCompile(`://[^/\s@]+@`)

// Error says which program failed and how. Its texts have no credentials from addresses.
type Error struct {
	Program string
	Name    string
	Args    []string
	Stderr  string // its last few KiB
	Err     error  // an *exec.ExitError when the program ran and failed
}

// Error returns the program's own last words, then its name and how it ended. Its arguments, which may fill the screen, are
// left to Command.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %v", cmp.Or(e.Name, e.Program), e.Err)
	if e.Stderr != "" {
		text = e.Stderr + "\n" + text
	}
	return withoutCredentials(text)
}

// Command returns the whole command line.
func (e *Error) Command() string {
	return withoutCredentials(strings.Join(append([]string{e.Program}, e.Args...), " "))
}

func withoutCredentials(text string) string {
	return credentials.ReplaceAllLiteralString(text, "://…@")
}

func (e *Error) Unwrap() error { return e.Err }

// Watched returns a context in which each command line is said before it is run, without credentials from addresses.
func Watched(ctx context.Context, say func(command string)) context.Context {
	return context.WithValue(ctx, watcher{}, say)
}

type watcher struct{}

// Run starts the program in a process group of its own and waits for it.
// When ctx ends, the whole group gets SIGTERM, and SIGKILL five seconds later.
// The program is killed with this process.
// A failure is an *Error with the end of standard error in its text.
func Run(ctx context.Context, c Cmd) error {
	if say, watched := ctx.Value(watcher{}).(func(string)); watched {
		say((&Error{Program: c.Program, Args: c.Args}).Command())
	}
	stderr := &tail{limit: stderrKept}
	cmd := exec.CommandContext(ctx, c.Program, c.Args...)
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Dir, c.Env, c.Stdin, c.Stdout, stderr
	cmd.ExtraFiles = c.Files
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would inherit
	}
	// Files that this process inherited are not for other programs. Go opens its own so that they are not, either.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return &Error{Program: c.Program, Name: c.Name, Args: c.Args, Err: fmt.Errorf("close inherited files: %w", err)}
	}
	// The kernel sends the parent-death signal when the starting thread ends, so the thread must live on.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if cmd.Process != nil && ctx.Err() != nil {
		killErr := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if killErr != nil && !errors.Is(killErr, syscall.ESRCH) {
			err = errors.Join(err, killErr)
		}
		err = errors.Join(ctx.Err(), err)
	}
	return &Error{Program: c.Program, Name: c.Name, Args: c.Args, Stderr: strings.TrimSpace(stderr.String()), Err: err}
}

// Output runs the program and returns its standard output.
func Output(ctx context.Context, c Cmd) ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := Run(ctx, c)
	return out.Bytes(), err
}

// HostEnv returns the named variables that are set in the caller's environment, as NAME=value.
func HostEnv(names ...string) []string {
	var env []string
	for _, name := range names {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// tail keeps the last limit bytes written to it.
type tail struct {
	limit int
	buf   []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.limit; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.buf) }
