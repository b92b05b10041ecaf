package debian

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/fetch"
)

func TestScratch(t *testing.T) {
	src, err := HostSources("/etc/apt", os.Getenv)
	fmt.Println(src, err)
	dir := "/tmp/debscratch"
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	a := &Archive{Sources: src, Store: fetch.New(dir, log, nil), Log: log, CacheDir: dir + "/index"}
	for range 2 {
		for _, suite := range []string{"trixie", "forky", "bookworm"} {
			start := time.Now()
			rel, err := a.Release(t.Context(), suite, "amd64")
			if err != nil {
				t.Fatal(err)
			}
			fmt.Println(suite, "release", time.Since(start), rel.Date, rel.Fingerprint.Short())
			start = time.Now()
			p, err := rel.Packages(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			fmt.Println("packages", time.Since(start), len(p.byName), len(p.provides), m.Sys>>20, m.HeapAlloc>>20)
			start = time.Now()
			for _, w := range []string{"waagent", "open-vm-tools", "qemu-guest-agent", "chrony", "cloud-init", "nvme-cli", "hyperv-daemons", "amazon-ec2-utils", "spice-vdagent", "google-guest-agent"} {
				c, err := p.Closure(Ask{Want: []string{w}})
				if err != nil {
					fmt.Println(err)
				}
				fmt.Println(w, len(c.Packages))
			}
			fmt.Println("closures", time.Since(start))
			start = time.Now()
			_, err = p.Closure(Ask{Want: []string{"wagent", "open-vm-tool"}})
			fmt.Println(err, time.Since(start))
		}
	}
}
