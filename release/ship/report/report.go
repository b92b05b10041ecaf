// Package report tells people what is in a release: what takes the room, what it costs at boot, what changed.
//
// In go the release's manifest and those of earlier releases, out comes one HTML file that needs nothing else, or Markdown
// for a pull request or a job summary. The same manifests give the same bytes. Names in a manifest may come from packages
// of others, so whatever they hold is shown and never interpreted.
//
// Refused are earlier releases for another architecture, and platforms that activate an image that is not in their release.
package report

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/ship/report/changes"
	"github.com/flatcar/oem-sysext/release/ship/report/drawing"
)

// imagesBudget is the name of the budget that a profile gives all images. The plan uses it up for faster reading, so how much of it is
// used says nothing about growth.
const imagesBudget = "images"

// usrBudget is the name of the budget for /usr's file system. What it leaves of the file system is headroom.
const usrBudget = "usr"

// figures are what both forms of a report say about a release.
type figures struct {
	*manifest.Manifest
	When      time.Time
	Last      *manifest.Manifest // the release before this one, or nil
	Images    []image            // the largest first
	Platforms []platform         // the largest first
	Rungs     []rungUse          // the most used ones first
	Parts     parts
	Embedded  size.Bytes       // what all embedded images cost
	Unpacked  size.Bytes       // what their files would take
	Slowest   platform         // to be read at boot
	Releases  []release        // oldest first, this one last
	Changes   *changes.Changes // since Last, or nil
	Tools     []tool           // by recipe
	Missing   []missing        // by tool
	Slower    []platform       // those that take longer to be read than in Last, by more than a tenth; the slowest first
	Downloads []download       // from each release that has an update of its own, and from any other one; none without such
}

// download is what an update to the release costs a machine.
type download struct {
	From string // version; empty for any
	Size size.Bytes
	Of   size.Bytes // the whole update
}

// Share is the part of the whole update, in percent.
func (d download) Share() float64 { return drawing.Percent(d.Size, d.Of) }

// downloads lists the updates.
func downloads(m *manifest.Manifest) []download {
	if len(m.Deltas) == 0 {
		return nil
	}
	whole := m.File(manifest.UpdateFile).Size
	var all []download
	for _, d := range m.Deltas {
		all = append(all, download{d.From, m.File(d.File).Size, whole})
	}
	return append(all, download{"", whole, whole})
}

// image is a manifest's image and what it was in the last release.
type image struct {
	manifest.Image
	Last *manifest.Image // nil when it is new
}

// Room is what the image takes where it lies.
func (i image) Room() size.Bytes { return changes.Room(&i.Image) }

// Shared tells whether several platforms may activate the image.
func (i image) Shared() bool { return isShared(&i.Image) }

func isShared(i *manifest.Image) bool { return len(i.Platforms) > 1 }

// Growth is what the image takes more than in the last release, where it was there.
func (i image) Growth() *size.Bytes {
	if i.Last == nil {
		return nil
	}
	grown := i.Room() - changes.Room(i.Last)
	return &grown
}

// Repacked names the rung of the last release, where it was another one.
func (i image) Repacked() string {
	if i.Last == nil || i.Last.Rung == i.Rung {
		return ""
	}
	return i.Last.Rung.String()
}

// Holds says what is in an image and for whom, where its name does not: "python3, cloud-init, 4 platforms".
func (i image) Holds() string {
	if !i.Shared() {
		return ""
	}
	by := map[string]int64{}
	for _, c := range i.Contents {
		if c.Recipe != "" {
			by[c.Recipe] += c.Size
		}
	}
	names := slices.Sorted(maps.Keys(by))
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(by[b], by[a]) })
	return strings.Join(append(names, count(len(i.Platforms), "platform")), ", ")
}

// tool is what a recipe brings.
type tool struct {
	Recipe    string
	Versions  []version // of its sources; files of our own have none
	Platforms []string  // ids of those that have it
}

// version is that of one input.
type version struct{ Kind, Name, Version string }

// mostVersions is how many inputs of a recipe are named. A tool with its libraries may have fifty.
const mostVersions = 4

// Shown are the versions that are named: first of what is called like the recipe.
func (t tool) Shown() []version { return t.Versions[:min(len(t.Versions), mostVersions)] }

// More is how many more inputs there are.
func (t tool) More() int { return len(t.Versions) - len(t.Shown()) }

// missing is a tool that platforms should have.
type missing struct {
	Tool      string
	Reason    string
	Platforms []string
}

// platform is a manifest's platform with what it activates.
type platform struct {
	manifest.Platform
	Images []*manifest.Image
	Room   size.Bytes
	Growth *size.Bytes // nil when it is new
	Before int64       // microseconds of a cold read in the last release; 0 when it is new
	Apart  size.Bytes  // download of the tools as a payload of their own, as Flatcar ships them; 0 when there is none
}

// Longer is how much longer a cold read takes than in the last release, in microseconds.
func (p platform) Longer() int64 { return p.Read - p.Before }

// OnOEM tells whether the platform's image is not in /usr.
func (p platform) OnOEM() bool { return p.Placement == budget.OnOEM }

// rungUse sums up what is packed one way.
type rungUse struct {
	Name           string
	Images         int
	Unpacked, Size size.Bytes
}

// Ratio is what packing leaves of a hundred bytes.
func (r rungUse) Ratio() float64 { return drawing.Percent(r.Size, r.Unpacked) }

// parts are what the file system of the USR partition consists of.
type parts struct{ Base, Images, Metadata, Headroom, Free size.Bytes }

// release is one point of the history.
type release struct {
	Version   string
	Embedded  size.Bytes
	Least     size.Bytes // what all images take at least; 0 when the release does not say
	Free      size.Bytes
	Platforms map[string]size.Bytes // room by id
}

// Grown is what all embedded images take more than in the last release.
func (f *figures) Grown() size.Bytes { return f.Embedded - embeddedCost(f.Last) }

// work gathers the figures, and refuses manifests that do not fit together.
func work(m *manifest.Manifest, previous []*manifest.Manifest) (*figures, error) {
	f := &figures{Manifest: m, When: time.Unix(m.Epoch, 0).UTC(), Parts: partsOf(m), Downloads: downloads(m)}
	for _, earlier := range slices.Concat(previous, []*manifest.Manifest{m}) {
		if earlier.Arch != m.Arch {
			return nil, fmt.Errorf("the earlier release %s is for %s; wanted releases for %s only, as the one to report on",
				earlier.Version, earlier.Arch, m.Arch)
		}
		point, err := pointOf(earlier)
		if err != nil {
			return nil, err
		}
		f.Releases = append(f.Releases, point)
	}
	if len(previous) > 0 {
		f.Last = previous[len(previous)-1]
		f.Changes = changes.Between(f.Last, m)
	}
	f.Embedded = f.Releases[len(f.Releases)-1].Embedded
	f.addImages()
	f.addPlatforms()
	f.addTools()
	return f, nil
}

// partsOf divides a file system. Rounding by the file system, and its own bookkeeping for the images, is metadata.
func partsOf(m *manifest.Manifest) parts {
	p := parts{
		Base:   m.Partition.Filesystem - m.Partition.FreeBefore,
		Images: embeddedCost(m),
	}
	for _, b := range m.Plan.Budgets {
		if b.Name == usrBudget {
			p.Headroom = min(max(0, m.Partition.Filesystem-b.Limit), m.Partition.FreeAfter)
		}
	}
	p.Free = m.Partition.FreeAfter - p.Headroom
	p.Metadata = max(0, m.Partition.FreeBefore-m.Partition.FreeAfter-p.Images)
	return p
}

func embeddedCost(m *manifest.Manifest) size.Bytes {
	var cost size.Bytes
	for _, i := range m.Images {
		if i.Embedded != "" {
			cost += i.Cost
		}
	}
	return cost
}

func pointOf(m *manifest.Manifest) (release, error) {
	r := release{Version: m.Version, Embedded: embeddedCost(m), Least: m.Plan.Least, Free: m.Partition.FreeAfter, Platforms: map[string]size.Bytes{}}
	for _, p := range m.Platforms {
		images, err := activated(m, p)
		if err != nil {
			return r, err
		}
		r.Platforms[p.ID] = roomOf(images)
	}
	return r, nil
}

// activated finds a platform's images.
func activated(m *manifest.Manifest, p manifest.Platform) ([]*manifest.Image, error) {
	images := make([]*manifest.Image, len(p.Activates))
	for i, name := range p.Activates {
		if images[i] = changes.ImageOf(m, name); images[i] == nil {
			return nil, fmt.Errorf("release %s: platform %q activates %q, which is none of its images", m.Version, p.ID, name)
		}
	}
	return images, nil
}

func roomOf(images []*manifest.Image) size.Bytes {
	var all size.Bytes
	for _, i := range images {
		all += changes.Room(i)
	}
	return all
}

func (f *figures) addImages() {
	rungs := map[string]*rungUse{}
	for _, i := range f.Manifest.Images {
		with := image{Image: i}
		if f.Last != nil {
			with.Last = changes.ImageOf(f.Last, i.Name)
		}
		f.Images = append(f.Images, with)
		f.Unpacked += i.Unpacked
		name := i.Rung.String()
		if rungs[name] == nil {
			rungs[name] = &rungUse{Name: name}
		}
		rungs[name].Images++
		rungs[name].Unpacked += i.Unpacked
		rungs[name].Size += i.Size
	}
	f.Rungs = byCount(rungs)
	slices.SortStableFunc(f.Images, func(a, b image) int { return cmp.Compare(b.Room(), a.Room()) })
}

func (f *figures) addPlatforms() {
	this := f.Releases[len(f.Releases)-1]
	for _, p := range f.Manifest.Platforms {
		images, _ := activated(f.Manifest, p) // pointOf has found them
		with := platform{Platform: p, Images: images, Room: this.Platforms[p.ID]}
		for _, payload := range f.Payloads {
			if payload.Platform == p.ID {
				with.Apart = f.File(payload.File).Size
			}
		}
		if f.Last != nil {
			if before, there := f.Releases[len(f.Releases)-2].Platforms[p.ID]; there {
				grown := with.Room - before
				with.Growth = &grown
			}
			for _, before := range f.Last.Platforms {
				if before.ID == p.ID {
					with.Before = before.Read
				}
			}
		}
		if with.Before > 0 && 10*with.Longer() > with.Before {
			f.Slower = append(f.Slower, with)
		}
		if p.Read > f.Slowest.Read {
			f.Slowest = with
		}
		f.Platforms = append(f.Platforms, with)
	}
	slices.SortStableFunc(f.Platforms, func(a, b platform) int { return cmp.Compare(b.Room, a.Room) })
	slices.SortStableFunc(f.Slower, func(a, b platform) int { return cmp.Compare(b.Longer(), a.Longer()) })
}

// addTools lists what each recipe brings, and what is missing.
func (f *figures) addTools() {
	for _, r := range f.Recipes {
		t := tool{Recipe: r.Name}
		for _, i := range r.Inputs {
			if i.Kind != "file" {
				t.Versions = append(t.Versions, version{i.Kind, i.Name, cmp.Or(i.Version, i.Digest)})
			}
		}
		named := func(v version) bool { return v.Name == r.Name || path.Base(v.Name) == r.Name }
		slices.SortStableFunc(t.Versions, func(a, b version) int {
			switch {
			case named(a) == named(b):
				return 0
			case named(a):
				return -1
			}
			return 1
		})
		for _, p := range f.Manifest.Platforms {
			if slices.Contains(p.Recipes, r.Name) {
				t.Platforms = append(t.Platforms, p.ID)
			}
		}
		f.Tools = append(f.Tools, t)
	}
	f.Missing = missingOf(f.Manifest.Platforms)
}

// missingOf lists each missing tool once for each reason.
func missingOf(platforms []manifest.Platform) []missing {
	var all []missing
	for _, p := range platforms {
		for _, tool := range slices.Sorted(maps.Keys(p.Missing)) {
			reason := p.Missing[tool]
			at := slices.IndexFunc(all, func(m missing) bool { return m.Tool == tool && m.Reason == reason })
			if at < 0 {
				at = len(all)
				all = append(all, missing{Tool: tool, Reason: reason})
			}
			all[at].Platforms = append(all[at].Platforms, p.ID)
		}
	}
	slices.SortStableFunc(all, func(a, b missing) int { return strings.Compare(a.Tool, b.Tool) })
	return all
}
