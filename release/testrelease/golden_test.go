package testrelease

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/flatcar/flatcartest"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sums"
)

var update = flag.Bool("update", false, "write what TestBytesOfASmallRelease finds to testdata")

const goldenFile = "testdata/small-release.sums"

// TestBytesOfASmallRelease makes a release of a base and a recipe that are all in this file, with a key that is in testdata, and
// compares the digests of its files with those that are checked in: any change of bytes shows in review.
//
// The bytes depend on the programs that write them, whose versions the list begins with, and on Go's version, which documents
// name. Where a program has another version, there is nothing to compare.
func TestBytesOfASmallRelease(t *testing.T) {
	Needs(t)
	t.Setenv("TZ", "Pacific/Auckland")
	t.Setenv("LANG", "tr_TR.UTF-8")
	t.Setenv("LC_ALL", "tr_TR.UTF-8")
	o := Fresh(t)
	o.Checkout, o.Version, o.UpdateKey = goldenCheckout(t), "", "testdata/update.key"
	if err := os.Chmod(o.UpdateKey, 0o600); err != nil { // git keeps no more than the executable bit
		t.Fatal(err)
	}
	o.BaseID = goldenBase(t, goldenUsr(t, flatcartest.Version))
	m, err := release.Assemble(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	o.Version = m.Version
	got := goldenList(t, m, o.Dir())
	if *update {
		if err := os.WriteFile(goldenFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	tools, _, _ := strings.Cut(string(want), "\n\n")
	if now, _, _ := strings.Cut(got, "\n\n"); now != tools {
		t.Logf("other programs than the list is of; run with -update after a look at the difference: %s", cmp.Diff(tools, now))
		return
	}
	if diff := cmp.Diff(compared(string(want), got)); diff != "" {
		t.Errorf("the release has other bytes than %s (-want +got); if that is on purpose, run with -update:\n%s", goldenFile, diff)
	}
}

// packagesLine begins the line with the digest of all packages of the tool root. Other ones than those whose programs write bytes are
// named in documents, and nothing else depends on them.
const packagesLine = "packages of the tool root "

// compared returns the lines of both lists, without those of documents where the tool root has other packages.
func compared(want, got string) (a, b []string) {
	a, b = strings.Split(want, "\n"), strings.Split(got, "\n")
	at := slices.IndexFunc(a, func(line string) bool { return strings.HasPrefix(line, packagesLine) })
	if at < 0 || at < len(b) && a[at] == b[at] {
		return a, b
	}
	isDocument := func(line string) bool {
		return strings.HasPrefix(line, packagesLine) || strings.HasSuffix(line, ".json")
	}
	return slices.DeleteFunc(a, isDocument), slices.DeleteFunc(b, isDocument)
}

// goldenCheckout has one platform with one file.
func goldenCheckout(t *testing.T) string {
	t.Helper()
	dir := SmallCheckout(t)
	if err := os.RemoveAll(filepath.Join(dir, "recipes/tool/files")); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"recipes/tool/recipe.yaml": "name: tool\nsummary: s\nhomepage: https://example.org\nlicense: MIT\narches: [amd64]\n" +
			"files: files/\nmax_size: 64 KiB\n",
		"recipes/tool/files/usr/share/tool/data": strings.Repeat("a line of text\n", 4000),
		"platforms/vagrant.yaml": "id: vagrant\nname: Vagrant\nhomepage: https://example.org\nkernel_id: vagrant\narches: [amd64]\n" +
			"recipes: [tool]\ndetect: [{dmi: {sys_vendor: Test}}]\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// goldenUsr has files that are nobody's programs.
func goldenUsr(t *testing.T, version string) string {
	t.Helper()
	usr := flatcartest.Usr(t, version)
	var program bytes.Buffer
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Ehsize: 64,
	}
	if err := binary.Write(&program, binary.LittleEndian, header); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"lib/systemd/systemd":                       program.Bytes(),
		"lib/modules/6.12.90-flatcar/build/.config": []byte("CONFIG_EROFS_FS=m\nCONFIG_EROFS_FS_ZIP=y\nCONFIG_SQUASHFS=m\nCONFIG_SQUASHFS_XZ=y\nCONFIG_SQUASHFS_ZSTD=y\n"),
	} {
		file := filepath.Join(usr, name)
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, flatcartest.Epoch, flatcartest.Epoch); err != nil {
			t.Fatal(err)
		}
	}
	return usr
}

// goldenBase is a partition of a /usr, beside its kernel.
func goldenBase(t *testing.T, usr string) string {
	t.Helper()
	partition, root := flatcartest.Partition(t, toolroottest.Open(t), usr)
	kernel, err := os.ReadFile(flatcartest.Kernel(t, root))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(partition), "flatcar_production_image.vmlinuz"), kernel, 0o644); err != nil {
		t.Fatal(err)
	}
	return partition
}

// goldenList is the versions of the programs that decide bytes, and the sums of all files.
func goldenList(t *testing.T, m *manifest.Manifest, dir string) string {
	t.Helper()
	var list strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.Tools)) {
		fmt.Fprintf(&list, "%s %s\n", name, m.Tools[name])
	}
	packages, err := digest.OfInputs(m.ToolPackages)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&list, "\n%s%v\n", packagesLine, packages)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]digest.SHA256{}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() != sums.FileName { // which follows from the others
			all[e.Name()] = digest.Of(bytes.ReplaceAll(content, []byte(m.Go), []byte("go")))
		}
	}
	list.Write(sums.Format(all))
	return list.String()
}
