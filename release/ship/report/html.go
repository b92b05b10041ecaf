package report

import (
	"cmp"
	"crypto/sha256"
	_ "embed" // the template, its style and its script
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/ship/report/changes"
	"github.com/flatcar/oem-sysext/release/ship/report/drawing"
)

// maxFiles is how many changed files are named in HTML. The rest is summed up.
const maxFiles = 100

var (
	//go:embed report.html.tmpl
	pageText string
	//go:embed report.css
	style string
	//go:embed report.js
	script string

	documentTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
		"signed": signed, "longer": longer, "growth": growth, "duration": duration, "count": count, "percent": drawing.Percent,
		"join": strings.Join, "short": func(name string) string { return strings.TrimPrefix(name, "oem-") }, "deref": func(b *size.Bytes) size.Bytes { return *b },
	}).Parse(pageText))
)

// document is what the template shows.
type document struct {
	*figures
	Policy   string // a Content-Security-Policy that allows this style and this script and nothing else
	Style    template.CSS
	Script   template.JS
	Overview []tile // the partition, to scale
	Map      []tile // embedded images, to scale among each other
	Zoom     []zoom // what the script shows of each image
	Bars     []bars // of Platforms
	Budgets  []usage
	Total    drawing.Chart
	Small    []small // a chart per platform
	Shown    []changes.File
	Rest     changes.Tally
	Digests  []anchored
	anchors  map[string]string
}

// HTML writes a page that needs no other file and no network, and without its script lacks nothing but zooming into images.
// previous are earlier releases for the same architecture, the oldest first.
func HTML(w io.Writer, m *manifest.Manifest, previous []*manifest.Manifest) error {
	f, err := work(m, previous)
	if err != nil {
		return err
	}
	d := &document{figures: f, Script: template.JS(script)} // #nosec G203 -- ours
	d.addMaps()
	d.Policy = fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'",
		source(string(d.Style)), source(script))
	d.addBars()
	d.addCharts()
	d.addDigests()
	if f.Changes != nil {
		d.Shown = f.Changes.Files[:min(len(f.Changes.Files), maxFiles)]
		d.Rest = changes.TallyOf(f.Changes.Files[len(d.Shown):])
	}
	return documentTemplate.Execute(w, d)
}

// source is how a policy names an inline text.
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// tile is one piece of a map. Its place is in the style: the policy allows no style attributes.
type tile struct {
	ID    string
	Kind  string // a class: own, shared, base, metadata, headroom, free
	Name  string
	Says  string // its size, and what it is part of
	Image int    // index in Images
	Size  size.Bytes
	Tiles []tile // inside
}

// zoom is what the script knows of an image.
type zoom struct {
	Name     string          `json:"name"`
	Unpacked int64           `json:"unpacked"`
	Root     string          `json:"root"` // the directory that all files are in
	Files    []*drawing.Node `json:"files"`
}

// shape is the form of a map on a wide screen and on a narrow one, as the style has it, too.
type shape struct{ wide, narrow drawing.Rect }

var (
	overviewShape = shape{wide: drawing.Rect{W: 3, H: 4}, narrow: drawing.Rect{W: 16, H: 9}}
	mapShape      = shape{wide: drawing.Rect{W: 7, H: 4}, narrow: drawing.Rect{W: 3, H: 4}}
)

func (d *document) addMaps() {
	for at, i := range d.Images {
		root := drawing.FileTree(i.Contents)
		d.Zoom = append(d.Zoom, zoom{i.Name, int64(i.Unpacked), "/" + root.Name, root.Children})
		if i.Embedded == "" || i.Cost <= 0 {
			continue
		}
		kind := "own"
		if i.Shared() {
			kind = "shared"
		}
		d.Map = append(d.Map, tile{
			ID: fmt.Sprint("m", at), Kind: kind, Name: i.Name, Image: at, Size: i.Cost,
			Says: fmt.Sprintf("%v, %.1f %% of all images", i.Cost, drawing.Percent(i.Cost, d.Embedded)),
		})
	}
	d.Overview = d.overview()
	var wide, narrow strings.Builder
	place(d.Overview, overviewShape, &wide, &narrow)
	place(d.Map, mapShape, &wide, &narrow)
	d.Style = template.CSS(style + wide.String() + "@media (max-width:45rem){\n" + narrow.String() + "}\n") // #nosec G203 -- ours, and numbers
}

// overview lists the parts of the partition. The images in it are drawn, but too small to be pointed at.
func (d *document) overview() []tile {
	images := slices.Clone(d.Map)
	for i := range images {
		images[i].ID = "i" + images[i].ID
	}
	var tiles []tile
	for _, t := range []tile{
		{Kind: "base", Name: "Base " + d.Base.ID, Size: d.Parts.Base},
		{Kind: "images", Name: "OEM images", Size: d.Parts.Images, Tiles: images},
		{Kind: "metadata", Name: "Metadata", Size: d.Parts.Metadata},
		{Kind: "headroom", Name: "Headroom", Size: d.Parts.Headroom},
		{Kind: "free", Name: "Free", Size: d.Parts.Free},
	} {
		if t.Size > 0 {
			t.ID = fmt.Sprint("o", len(tiles))
			t.Says = fmt.Sprintf("%v, %.1f %%", t.Size, drawing.Percent(t.Size, d.Partition.Filesystem))
			tiles = append(tiles, t)
		}
	}
	slices.SortStableFunc(tiles, func(a, b tile) int { return cmp.Compare(b.Size, a.Size) })
	return tiles
}

// place writes where tiles lie, in percent of what they lie in.
func place(tiles []tile, s shape, wide, narrow io.Writer) {
	areas := make([]float64, len(tiles))
	for i, t := range tiles {
		areas[i] = float64(t.Size)
	}
	onWide, onNarrow := drawing.Squarify(areas, s.wide), drawing.Squarify(areas, s.narrow)
	for i, t := range tiles {
		rule(wide, t.ID, onWide[i], s.wide)
		rule(narrow, t.ID, onNarrow[i], s.narrow)
		place(t.Tiles, shape{wide: inside(onWide[i]), narrow: inside(onNarrow[i])}, wide, narrow)
	}
}

func inside(r drawing.Rect) drawing.Rect { return drawing.Rect{W: r.W, H: r.H} }

func rule(w io.Writer, id string, r, in drawing.Rect) {
	fmt.Fprintf(w, "#%s{left:%s%%;top:%s%%;width:%s%%;height:%s%%}\n", id,
		drawing.Decimals(100*r.X/in.W), drawing.Decimals(100*r.Y/in.H), drawing.Decimals(100*r.W/in.W), drawing.Decimals(100*r.H/in.H))
}

// bars are one platform's images in a row.
type bars struct {
	platform
	Segments []segment
}

type segment struct{ Kind, X, Width, Says string }

func (d *document) addBars() {
	var widest size.Bytes
	for _, p := range d.Platforms {
		widest = max(widest, p.Room)
	}
	for _, p := range d.Platforms {
		row := bars{platform: p}
		var before size.Bytes
		for _, i := range p.Images {
			kind := "own"
			if isShared(i) {
				kind = "shared"
			}
			row.Segments = append(row.Segments, segmentOf(kind, i.Name, before, changes.Room(i), widest))
			before += changes.Room(i)
		}
		d.Bars = append(d.Bars, row)
	}
	for _, b := range d.Plan.Budgets {
		whole := max(b.Limit, b.Used)
		u := usage{
			Name: b.Name, Limit: b.Limit, Used: b.Used, Fixed: b.Fixed, Left: b.Limit - b.Used, Share: drawing.Percent(b.Used, b.Limit),
			Segments: []segment{
				segmentOf("base", "fixed", 0, b.Fixed, whole),
				segmentOf("own", "images", b.Fixed, b.Used-b.Fixed, whole),
			},
		}
		if least := d.Plan.Least; b.Name == imagesBudget && least > 0 {
			u.Least = least
			u.Segments = []segment{
				segmentOf("own", "needed at least", 0, least, whole),
				segmentOf("shared", "for faster reading", least, b.Used-least, whole),
			}
		}
		d.Budgets = append(d.Budgets, u)
	}
}

func segmentOf(kind, name string, before, b, whole size.Bytes) segment {
	return segment{kind, drawing.Decimals(drawing.Percent(before, whole)) + "%", drawing.Decimals(drawing.Percent(b, whole)) + "%", fmt.Sprintf("%s: %v", name, b)}
}

// usage is a budget.Budget with what is left of it, which is negative when it is exceeded.
type usage struct {
	Name                     string
	Limit, Used, Fixed, Left size.Bytes
	Least                    size.Bytes // what images need of it however they are packed; 0 when that is not known
	Share                    float64
	Segments                 []segment
}

// Slack is what images could do without.
func (b usage) Slack() size.Bytes { return b.Used - b.Least }

// Over is by how much the budget is exceeded.
func (b usage) Over() size.Bytes { return -b.Left }

// small is the history of one platform.
type small struct {
	platform
	Chart drawing.Chart
	Since *size.Bytes // growth since the first release that is shown; nil with only one
}

func (d *document) addCharts() {
	if d.Last == nil {
		return
	}
	var all []drawing.Point
	for _, r := range d.Releases {
		point := drawing.Point{Version: r.Version, Value: &r.Embedded}
		if r.Least > 0 {
			point.Lower = &r.Least
		}
		all = append(all, point)
	}
	d.Total = drawing.Draw(all)
	for _, p := range d.Platforms {
		of := func(r release) *size.Bytes {
			b, there := r.Platforms[p.ID]
			if !there {
				return nil
			}
			return &b
		}
		s := small{platform: p, Chart: d.chart(of)}
		for _, r := range d.Releases[:len(d.Releases)-1] {
			if b := of(r); b != nil {
				grown := p.Room - *b
				s.Since = &grown
				break
			}
		}
		d.Small = append(d.Small, s)
	}
}

// chart draws one value per release.
func (d *document) chart(value func(release) *size.Bytes) drawing.Chart {
	var points []drawing.Point
	for _, r := range d.Releases {
		points = append(points, drawing.Point{Version: r.Version, Value: value(r)})
	}
	return drawing.Draw(points)
}

// anchored is a file of the release. The first of those with one digest is what links to the digest lead to.
type anchored struct {
	manifest.File
	Anchor string // empty for further ones
}

func (d *document) addDigests() {
	d.anchors = map[string]string{}
	seen := map[string]bool{}
	for _, file := range d.Files {
		row := anchored{File: file}
		if anchor := "sha256-" + file.SHA256.String(); !seen[anchor] {
			seen[anchor] = true
			row.Anchor = anchor
		}
		d.anchors[file.Name] = "sha256-" + file.SHA256.String()
		d.Digests = append(d.Digests, row)
	}
}

// AnchorOf returns where a file's digest is, empty when the release has no such file.
func (d *document) AnchorOf(file string) string { return d.anchors[file] }

// Limit is how many changed files are named.
func (d *document) Limit() int { return maxFiles }
