package testrelease

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/release/publish/ci"
	"github.com/flatcar/oem-sysext/release/setup"
)

// BenchmarkMorePlatforms makes the release with one platform more, and then with 63 more, which have the same tools as several that there
// are: what is new in each is its name. Reported is what each of the 63 takes, also of the processors; what any change takes is in both.
//
//	go test -run '^$' -bench MorePlatforms -benchtime 1x -timeout 1h ./release/testrelease
func BenchmarkMorePlatforms(b *testing.B) {
	made := Made(b)
	for b.Loop() {
		o := cleanMachine(b)
		if err := os.RemoveAll(o.Cache); err != nil {
			b.Fatal(err)
		}
		// Files of a cache are never changed in their place.
		if err := run.Run(b.Context(), run.Cmd{Program: "cp", Args: []string{"-al", made.Options.Cache, o.Cache}, Env: run.HostEnv("PATH")}); err != nil {
			b.Fatal(err)
		}
		addPlatforms(b, o, 1)
		workBefore, before := does(b, o, "assemble", ci.Part{})
		const more = 63
		addPlatforms(b, o, 1+more)
		work, all := does(b, o, "assemble", ci.Part{})
		b.ReportMetric((all-before).Seconds()/more, "s/platform")
		b.ReportMetric((work-workBefore).Seconds()/more, "cpu-s/platform")
		throwAway(b, o)
	}
}

// addPlatforms adds platforms to a checkout that have, in turn, the tools of those of the project that are not alone with theirs.
func addPlatforms(b *testing.B, o setup.Options, count int) {
	b.Helper()
	var tools []string
	of := map[string]int{}
	for _, p := range Made(b).Choice.Catalogue {
		var names []string
		for _, r := range p.Main() {
			names = append(names, r.Name.Value)
		}
		list := strings.Join(names, ", ")
		if of[list]++; of[list] == 2 {
			tools = append(tools, list)
		}
	}
	for n := range count {
		id := fmt.Sprintf("more%d", n)
		text := "id: " + id + "\nname: " + id + "\nhomepage: https://example.org\nkernel_id: " + id + "\narches: [amd64]\n" +
			"recipes: [" + tools[n%len(tools)] + "]\ndetect: [{dmi: {sys_vendor: " + id + "}}]\n"
		if err := os.WriteFile(filepath.Join(o.Checkout, "platforms", id+".yaml"), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
}
