package debian

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/fetch"
)

func TestMeasure(t *testing.T) {
	src, _ := HostSources("/etc/apt", os.Getenv)
	dir := os.Getenv("MDIR")
	log := slog.New(slog.DiscardHandler)
	a := &Archive{Sources: src, Store: fetch.New(dir, log, nil), Log: log, CacheDir: dir + "/index"}
	start := time.Now()
	rel, err := a.Release(t.Context(), "trixie", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("release", time.Since(start))
	start = time.Now()
	p, err := rel.Packages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("packages", time.Since(start))
	start = time.Now()
	for _, w := range []string{"waagent", "open-vm-tools", "qemu-guest-agent", "chrony", "cloud-init", "nvme-cli", "hyperv-daemons", "amazon-ec2-utils", "spice-vdagent", "google-guest-agent"} {
		p.Closure(Ask{Want: []string{w}})
	}
	fmt.Println("10 closures", time.Since(start))
}
