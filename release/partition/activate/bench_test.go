package activate

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// BenchmarkScript decides for a machine of one of the clouds with twenty extensions in the release, of which ten are asked for. What the
// processor spends on that, the starting of a shell apart, is reported as cpu-ms.
//
//	go test -run '^$' -bench Script -benchtime 50x ./release/activate
func BenchmarkScript(b *testing.B) {
	var extensions []Extension
	var asked strings.Builder
	for i := range 20 {
		x := Extension{Name: fmt.Sprintf("tool%d", i), Versions: []Version{{File: fmt.Sprintf("tool%d.raw", i)}}}
		extensions = append(extensions, x)
		if i%2 == 0 {
			fmt.Fprintln(&asked, x.Name)
		}
	}
	p := newPrivate(b, some, extensions...)
	for _, x := range extensions {
		p.write("usr/"+embed.Dir+"/"+x.Versions[0].File, x.Name)
	}
	p.write("oem/oem-release", "ID=azure\n")
	p.write("etc/flatcar/oem-sysext.conf", asked.String())
	spend := func(args ...string) time.Duration {
		// Without a PID namespace it becomes the shell, so what the shell spends is its own.
		bwrap := exec.CommandContext(b.Context(), "bwrap", append([]string{
			"--die-with-parent", "--clearenv", "--setenv", "PATH", "/bin:/programs/bin",
			"--bind", p.dir, "/", "--dev-bind", "/dev/null", "/dev/null", "--ro-bind", tools.Path("usr"), "/programs", "/programs/bin/dash",
		}, args...)...)
		bwrap.Env = run.HostEnv("PATH")
		if err := bwrap.Run(); err != nil {
			b.Fatal(err)
		}
		return bwrap.ProcessState.UserTime() + bwrap.ProcessState.SystemTime()
	}
	var script, shell time.Duration
	for b.Loop() {
		if err := os.RemoveAll(filepath.Join(p.dir, "run")); err != nil { // as at every boot
			b.Fatal(err)
		}
		script += spend("/usr/" + Script)
		shell += spend("-c", ":")
	}
	if links := p.links("run/extensions"); len(links) != 12 {
		b.Errorf("linked are %v", links)
	}
	b.ReportMetric((script-shell).Seconds()*1000/float64(b.N), "cpu-ms")
}
