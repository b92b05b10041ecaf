package earlyboot

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/ulikunitz/xz"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/release/format/initramfs"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/plan/early"
	"github.com/flatcar/oem-sysext/release/plan/early/initrd"
)

// secondStageBoots are with the images in the second stage, and without.
func (w *prover) secondStageBoots() []Boot {
	i, found := richest(w.made, func(i manifest.Initrd) bool { return i.SecondStage })
	if !found {
		return nil
	}
	with := Boot{Name: "in the second stage", platform: i.Platform, Want: merging(i), early: slices.Concat(w.content.Early, probeFiles())}
	return []Boot{with, {Name: "nothing in the second stage", WantNot: i.Modules, platform: i.Platform, early: probeFiles()}}
}

// oneStageBoots are all that a base's initramfs allows that can be appended to.
func (w *prover) oneStageBoots(ctx context.Context) ([]Boot, error) {
	var boots []Boot
	for _, more := range []func(context.Context) ([]Boot, error){w.diskBoots, w.brokenBoots, w.stubBoots} {
		some, err := more(ctx)
		if err != nil {
			return nil, err
		}
		boots = append(boots, some...)
	}
	return boots, nil
}

// diskDriver is what finds the machines' disk, and in the initramfs no other module needs it.
const diskDriver = "virtio_blk"

// diskBoots take the disk's driver out of the base's initramfs: a machine finds its disk by the one in the platform's image, or
// not at all. Other archives come along in all orders of all compressions, and the platform's for a network boot: what is in its /oem
// is there for who reads it, which this base does not do.
func (w *prover) diskBoots(ctx context.Context) ([]Boot, error) {
	i, found := richest(w.made, func(i manifest.Initrd) bool { return early.FileOf(i, early.SystemdForm).Name != "" })
	if !found {
		return nil, nil
	}
	hidden, driver, err := w.hideDriver()
	if err != nil {
		return nil, err
	}
	p := w.Choice.Chosen[slices.IndexFunc(w.Choice.Chosen, func(p *platform.Platform) bool { return p.ID.Value == i.Platform })].ForInitrd()
	more := *p.Initrd
	more.Modules = append(slices.Clone(more.Modules), strictyaml.Text{Value: diskDriver})
	p.Initrd = &more
	maker := *w.maker
	maker.Host = w.maker.Host.Without(driver)
	with, err := maker.ImagesOf(ctx, []*platform.Platform{p})
	if err != nil {
		return nil, err
	}
	archives, markers, err := inAllOrders()
	if err != nil {
		return nil, err
	}
	first := []part{hidden, {path: w.Bench.Blobs.Path(early.FileOf(with[0], early.SystemdForm).SHA256)}, {path: w.Bench.Blobs.Path(early.FileOf(with[0], early.PXEForm).SHA256)}}
	boot := Boot{Name: "a disk by the image's module, archives in all orders", Want: merging(with[0]), parts: append(first, archives...)}
	boot.Want.Markers = append(markers, "/oem/oem-release", "/oem/sysext/active-"+p.Image(), "/oem/sysext/"+p.Image()+"-"+w.Base.Version+".raw")
	return []Boot{boot, {Name: "the disk without the image", NoBoot: true, parts: append([]part{hidden}, archives...)}}, nil
}

// hideDriver returns an archive that replaces the driver by a link to nothing, and the driver's path.
func (w *prover) hideDriver() (part, string, error) {
	usr, err := os.OpenRoot(w.Base.Usr)
	if err != nil {
		return part{}, "", err
	}
	defer usr.Close()
	files, err := (*initrd.Host)(nil).Modules(usr.FS(), w.Base.Release, []string{diskDriver})
	if err != nil {
		return part{}, "", err
	}
	n := slices.IndexFunc(files, func(file string) bool { return strings.HasPrefix(path.Base(file), diskDriver+".ko") })
	if n < 0 {
		return part{}, "", fmt.Errorf("the base's kernel has %s built in; wanted a module", diskDriver)
	}
	driver := "usr/" + files[n]
	content, err := archiveOf(embed.File{Path: driver, Target: "/nowhere"})
	return part{content: content}, driver, err
}

// inAllOrders returns small archives in all orders of all compressions, and the files that they leave.
func inAllOrders() (parts []part, markers []string, err error) {
	var orders func(before, left []initramfs.Compression)
	orders = func(before, left []initramfs.Compression) {
		if len(left) == 0 {
			for i, c := range before {
				name := fmt.Sprintf("%02d-%d-%s", len(markers)/len(before), i, cmp.Or(string(c), "none"))
				p, failed := marker(name, c)
				err = cmp.Or(err, failed)
				parts, markers = append(parts, p), append(markers, "/marker/"+name)
			}
			return
		}
		for i := range left {
			orders(append(slices.Clone(before), left[i]), slices.Delete(slices.Clone(left), i, i+1))
		}
	}
	orders(nil, []initramfs.Compression{initramfs.None, initramfs.Gzip, initramfs.Zstd, initramfs.XZ})
	return parts, markers, err
}

// marker is an archive that leaves a file.
func marker(name string, c initramfs.Compression) (part, error) {
	content, err := archiveOf(embed.File{Path: "marker/" + name, Mode: 0o644, Content: []byte(name)})
	if err != nil {
		return part{}, err
	}
	var out bytes.Buffer
	packed, err := c.NewWriter(&out)
	if err != nil {
		return part{}, err
	}
	if _, err := packed.Write(content); err != nil {
		return part{}, err
	}
	err = packed.Close()
	return part{content: out.Bytes()}, err
}

// brokenBoots have an archive that breaks a rule of kernels, each between two good ones: what comes behind it is lost. What comes
// before is not, and is the archive of a platform in the first of them.
func (w *prover) brokenBoots(context.Context) ([]Boot, error) {
	boots, err := brokenArchives()
	if i, found := richest(w.made, func(i manifest.Initrd) bool { return early.FileOf(i, early.SystemdForm).Name != "" }); found && err == nil {
		merged := merging(i)
		merged.Markers = boots[0].Want.Markers
		boots[0].Want = merged
		boots[0].parts = slices.Insert(boots[0].parts, 0, part{path: w.Bench.Blobs.Path(early.FileOf(i, early.SystemdForm).SHA256)})
	}
	return boots, err
}

func brokenArchives() ([]Boot, error) {
	before, err := marker("before", initramfs.None)
	if err != nil {
		return nil, err
	}
	after, err := marker("after", initramfs.None)
	if err != nil {
		return nil, err
	}
	broken, err := brokenParts()
	if err != nil {
		return nil, err
	}
	var boots []Boot
	for _, b := range broken {
		b.Want.Markers = append([]string{"/marker/before"}, b.Want.Markers...)
		b.parts = slices.Concat([]part{before}, b.parts, []part{after})
		boots = append(boots, b)
	}
	return boots, nil
}

// brokenParts are archives that break a rule of kernels.
func brokenParts() ([]Boot, error) {
	odd, err := marker("odd", initramfs.Gzip)
	if err != nil {
		return nil, err
	}
	odd.loose = true
	if len(odd.content)%4 == 0 {
		odd.content = append(odd.content, 0)
	}
	short, err := marker("short", initramfs.Zstd)
	if err != nil {
		return nil, err
	}
	short.content = short.content[:len(short.content)-len(short.content)/3]
	content, err := archiveOf(embed.File{Path: "marker/crc64", Mode: 0o644})
	if err != nil {
		return nil, err
	}
	var sum64 bytes.Buffer
	w, err := xz.WriterConfig{CheckSum: xz.CRC64}.NewWriter(&sum64)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	err = w.Close()
	return []Boot{
		{Name: "misaligned", Refused: "after a multiple of 4", parts: []part{odd}, Want: report{Markers: []string{"/marker/odd"}}},
		{Name: "truncated", Refused: "zstd", parts: []part{short}},
		{Name: "CRC64", Refused: "xz", parts: []part{{content: sum64.Bytes()}}},
	}, err
}

// stubBoots have an image where systemd-stub leaves it, signed and not. Only signed ones are merged from there.
func (w *prover) stubBoots(context.Context) ([]Boot, error) {
	i, found := richest(w.made, func(i manifest.Initrd) bool { return early.FileOf(i, early.StubForm).Name != "" })
	if !found {
		return nil, nil
	}
	files, err := w.maker.Host.Enable(initrd.Enabling{Image: "oem-" + i.Platform, Systemd: w.Base.Features, Modules: len(i.Modules) > 0}, w.maker.BaseFile)
	if err != nil {
		return nil, err
	}
	trust := embed.File{Path: "etc/verity.d/oem-sysext.crt", Mode: 0o644, Content: sign.EncodeCertificate(w.Keys.Stub.Certificate())}
	enabled, err := archiveOf(append(files, trust)...)
	if err != nil {
		return nil, err
	}
	bare, err := os.ReadFile(w.Bench.Blobs.Path(i.Image.SHA256))
	if err != nil {
		return nil, err
	}
	var unsigned bytes.Buffer
	if err := initrd.Stub(&unsigned, initrd.Image{Name: "oem-" + i.Platform, Size: int64(len(bare)), Content: bytes.NewReader(bare)}); err != nil {
		return nil, err
	}
	want := merging(i)
	want.System = nil // it is for the initramfs, and in a system it is up to the boot loader's partition
	boots := []Boot{{Name: "as systemd-stub has it", Want: want, parts: []part{{content: enabled}, {path: w.Bench.Blobs.Path(early.FileOf(i, early.StubForm).SHA256)}}}}
	if w.Keys.Image != nil {
		return boots, nil
	}
	return append(boots, Boot{Name: "unsigned", Refused: "signature", WantNot: i.Modules, parts: []part{{content: enabled}, {content: unsigned.Bytes()}}}), nil
}

// richest returns what has the most modules, and of these the smallest image.
func richest(made []manifest.Initrd, suits func(manifest.Initrd) bool) (manifest.Initrd, bool) {
	made = slices.DeleteFunc(slices.Clone(made), func(i manifest.Initrd) bool { return !suits(i) })
	if len(made) == 0 {
		return manifest.Initrd{}, false
	}
	return slices.MinFunc(made, func(a, b manifest.Initrd) int {
		return cmp.Or(len(b.Modules)-len(a.Modules), cmp.Compare(a.Image.Size, b.Image.Size))
	}), true
}

// merging is what a machine says that merges an image early and late.
func merging(i manifest.Initrd) report {
	image := []string{"oem-" + i.Platform}
	return report{Initramfs: image, Modules: i.Modules, System: image}
}
