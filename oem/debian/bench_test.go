package debian

import (
	"log/slog"
	"os"
	"testing"

	"github.com/flatcar/oem-sysext/oem/fetch"
)

func BenchmarkWarm(b *testing.B) {
	src, _ := HostSources("/etc/apt", os.Getenv)
	dir := "/tmp/debscratch"
	a := &Archive{Sources: src, Store: fetch.New(dir, slog.Default(), nil), Log: slog.Default(), CacheDir: dir + "/index"}
	rel, err := a.Release(b.Context(), "trixie", "amd64")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := rel.Packages(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
