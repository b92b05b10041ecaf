//go:build nightly

package survey

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/archive"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
)

// popular is a package that others want, and that has something to start or to call.
type popular struct {
	Name     string   `json:"name"`
	Wanted   int      `json:"wanted"`   // how many other sources have a package that names it
	Programs []string `json:"programs"` // in directories of programs
	Units    []string `json:"units"`    // services, sockets and timers of the system
}

// noTools are sections whose packages are no tools of a cloud's machine: libraries, documents, what needs a display, typesetting and sciences.
// So are compilers: headers and static libraries are in no image.
var noTools = []string{
	"debug", "devel", "doc", "introspection", "libdevel", "libs", "localization", "metapackages", "oldlibs",
	"fonts", "games", "gnome", "gnustep", "graphics", "kde", "sound", "video", "x11", "xfce",
	"education", "electronics", "gnu-r", "hamradio", "math", "science", "tex",
}

// mostPopular returns the first packages of a suite's main component by how many other sources have packages that depend on, recommend or
// suggest them. Popularity itself is not in the archive. Left out are packages of the base, those of sections without tools, and those
// without a service, a socket, a timer or a program. On a tie names decide.
//
// The indexes only choose names, so nothing verifies them; the packages themselves are looked up as for any recipe.
func mostPopular(t *testing.T, suite *repository.Release, base *debian.Installed, most int) []popular {
	t.Helper()
	line := strings.Fields(suite.SourceLines()[0]) // deb ADDRESS NAME main, with options or without
	indexes := strings.TrimSuffix(line[len(line)-3], "/") + "/dists/" + line[len(line)-2] + "/main/"
	stanzas, err := debian.ReadStanzas(get(t, indexes+"binary-amd64/Packages.xz"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := wants(stanzas)
	var all []popular
	for _, p := range stanzas {
		name := p["package"]
		if base.Version(name) == "" && !slices.Contains(noTools, path.Base(p["section"])) && wanted[name] > 0 {
			all = append(all, popular{Name: name, Wanted: wanted[name]})
		}
	}
	slices.SortFunc(all, func(a, b popular) int { return cmp.Or(b.Wanted-a.Wanted, strings.Compare(a.Name, b.Name)) })
	byName := map[string]*popular{}
	for i := range all {
		byName[all[i].Name] = &all[i]
	}
	for _, arch := range []string{"amd64", "all"} {
		readContents(t, get(t, indexes+"Contents-"+arch+".gz"), byName)
	}
	all = slices.DeleteFunc(all, func(p popular) bool { return len(p.Programs)+len(p.Units) == 0 })
	return all[:min(most, len(all))]
}

// wants counts for each package the other sources that want it.
func wants(stanzas []debian.Stanza) map[string]int {
	source := func(p debian.Stanza) string {
		name, _, _ := strings.Cut(cmp.Or(p["source"], p["package"]), " ")
		return name
	}
	sources := map[string]string{}
	for _, p := range stanzas {
		sources[p["package"]] = source(p)
	}
	by := map[string]map[string]bool{}
	for _, p := range stanzas {
		for _, field := range []string{"pre-depends", "depends", "recommends", "suggests"} {
			for _, word := range strings.FieldsFunc(p[field], func(r rune) bool { return r == ',' || r == '|' }) {
				name, _, _ := strings.Cut(strings.Fields(word + " -")[0], ":")
				if from := source(p); sources[name] != from {
					if by[name] == nil {
						by[name] = map[string]bool{}
					}
					by[name][from] = true
				}
			}
		}
	}
	counts := map[string]int{}
	for name, from := range by {
		counts[name] = len(from)
	}
	return counts
}

// readContents adds the programs and units of packages: a line is a path, and the packages that have it, each behind its section.
func readContents(t *testing.T, contents io.Reader, byName map[string]*popular) {
	t.Helper()
	lines := bufio.NewScanner(contents)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndexAny(line, " \t")
		file := strings.TrimSpace(line[:max(at, 0)])
		isProgram, isUnit := kindOf(file)
		if !isProgram && !isUnit {
			continue
		}
		for one := range strings.SplitSeq(line[at+1:], ",") {
			p := byName[path.Base(one)]
			switch {
			case p == nil:
			case isUnit:
				p.Units = append(p.Units, path.Base(file))
			default:
				p.Programs = append(p.Programs, path.Base(file))
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

func kindOf(file string) (isProgram, isUnit bool) {
	switch path.Dir(strings.TrimPrefix(file, "usr/")) {
	case "bin", "sbin":
		return true, false
	case "lib/systemd/system":
		return false, slices.Contains([]string{".service", ".socket", ".timer"}, path.Ext(file))
	}
	return false, false
}

func get(t *testing.T, address string) io.Reader {
	t.Helper()
	answer, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatal(fmt.Errorf("%s: %s", address, answer.Status))
	}
	plain, err := archive.Decompress(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	content, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(content)
}
