package debian

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/archive"
	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Control holds the fields of a package's control file (deb-control(5)). Names are in lower case.
type Control map[string]string

// maxControl limits the unpacked control member. The longest one, with scripts and lists of digests, has a few MB.
const maxControl = 64 * size.MiB

// Unpack writes the files of a .deb into root and returns its control fields.
//
// On Debian bin, sbin and lib are links into usr/, but packages may still ship files there; these are moved to usr/.
// keep gets the mapped path, such as "usr/bin/x"; nil keeps everything below usr/.
// No maintainer script runs. The checks of package archive apply; the caller has verified the .deb, whose control file must say that it
// is the wanted package.
func Unpack(deb string, is Identity, root *os.Root, keep func(path string) bool) (Control, error) {
	file, err := os.Open(deb)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	control, err := unpack(file, filepath.Base(deb), is, root, keep)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", deb, err)
	}
	return control, nil
}

// unpack reads the members in the order of deb(5): debian-binary, control.tar, data.tar.
func unpack(deb io.Reader, name string, is Identity, root *os.Root, keep func(string) bool) (Control, error) {
	members, content, err := openControl(deb)
	if err != nil {
		return nil, err
	}
	control, err := readControl(content)
	if err != nil {
		return nil, fmt.Errorf("control.tar: %w", err)
	}
	if err := is.check(control); err != nil {
		return nil, fmt.Errorf("control.tar: control: %w", err)
	}
	if content, err = nextTar(members, "data.tar"); err != nil {
		return nil, err
	}
	if err := archive.Tar(content, root, dataOptions(name, keep)); err != nil {
		return nil, err
	}
	_, _, err = members.next()
	if !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, errors.New("unexpected members after data.tar"))
	}
	return control, nil
}

// formatVersion matches debian-binary. There may be more lines one day.
var formatVersion = regexp.MustCompile(`^2\.[0-9]+\n`)

// Identity is what a package says that it is. Where a field is empty, anything will do.
type Identity struct{ Name, Version, Arch string }

// check compares the identity with a control file, which must have one.
func (is Identity) check(c Control) error {
	for _, field := range []struct{ name, want string }{{"Package", is.Name}, {"Version", is.Version}, {"Architecture", is.Arch}} {
		got := c[strings.ToLower(field.name)]
		switch {
		case got == "" || foreign.Check(got) != nil:
			return fmt.Errorf("field %s: %q; wanted a value in one line", field.name, got)
		case field.want != "" && got != field.want && (field.name != "Architecture" || got != "all"):
			return fmt.Errorf("field %s: %s; wanted %s", field.name, got, field.want)
		}
	}
	if !ValidName(c["package"]) {
		return fmt.Errorf("field Package: %q; wanted a name of Debian", c["package"])
	}
	if !ValidVersion(c["version"]) {
		return fmt.Errorf("field Version: %q; wanted a version of Debian", c["version"])
	}
	return nil
}

// openControl returns the control member, and what comes after it.
func openControl(deb io.Reader) (*arReader, io.Reader, error) {
	members, err := newArReader(deb)
	if err != nil {
		return nil, nil, err
	}
	if err := checkFormat(members); err != nil {
		return nil, nil, err
	}
	content, err := nextTar(members, "control.tar")
	return members, content, err
}

// checkFormat reads the first member. Minor versions are compatible (deb(5)).
func checkFormat(members *arReader) error {
	name, content, err := members.next()
	if err != nil || name != "debian-binary" {
		return errors.Join(err, fmt.Errorf("the first member is %q; wanted debian-binary", name))
	}
	version, err := io.ReadAll(io.LimitReader(content, 4096))
	if err != nil || !formatVersion.Match(version) {
		return errors.Join(err, fmt.Errorf("debian-binary: has the format version %q; wanted 2.0 and a line break", version))
	}
	return nil
}

// nextTar returns the next member, which must be a tar archive of this name, compressed in any way.
// Members that begin with an underscore are to be skipped (deb(5)).
func nextTar(members *arReader, want string) (io.Reader, error) {
	for {
		name, content, err := members.next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("has no %s: the file is truncated", want)
		}
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(name, "_") {
			continue
		}
		compression, found := strings.CutPrefix(name, want)
		if !found || !slices.Contains([]string{"", ".gz", ".xz", ".zst", ".bz2"}, compression) {
			return nil, fmt.Errorf("has a member %q; wanted %s, plain or as .gz, .xz, .zst or .bz2", name, want)
		}
		buffered := bufio.NewReader(content)
		head, err := buffered.Peek(archive.MagicLength)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if is := archive.Compression(head); is != compression {
			return nil, fmt.Errorf("member %q: is %s; wanted what its name says", name, cmp.Or(is, "not compressed"))
		}
		return buffered, nil
	}
}

// readControl finds the control file in the control member.
func readControl(member io.Reader) (Control, error) {
	plain, err := archive.Decompress(member)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	whole := archive.NewWhole(io.LimitReader(plain, int64(maxControl)))
	var control Control
	for reader := tar.NewReader(whole); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			if control == nil {
				return nil, errors.New("has no control file")
			}
			return control, whole.Finish() // so that its sum is verified, too
		}
		if err != nil {
			return nil, err
		}
		if header.Name != "./control" && header.Name != "control" {
			continue
		}
		if control != nil {
			return nil, errors.New("has two control files")
		}
		text, err := io.ReadAll(reader)
		if err != nil {
			return nil, err
		}
		if !bytes.HasSuffix(text, []byte("\n")) {
			return nil, errors.New("control: has no line break at its end")
		}
		stanzas, err := ReadStanzas(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("control: %w", err)
		}
		if len(stanzas) != 1 {
			return nil, fmt.Errorf("control has %d stanzas; wanted 1", len(stanzas))
		}
		control = Control(stanzas[0])
		for _, name := range []string{"pre-depends", "depends", "provides"} {
			if _, err := parseGroups(control[name]); err != nil {
				return nil, fmt.Errorf("control: field %s: %w", name, err)
			}
		}
	}
}

// maxScript limits an install script. The longest ones have some 100 KiB.
const maxScript = size.MiB

// Scripts of packages (deb-preinst(5), deb-postinst(5)).
const (
	BeforeUnpacking = "preinst"
	AfterUnpacking  = "postinst" // it configures the package
)

// InstallScript returns a script that runs when a package is installed; empty if it has none. The caller has verified the .deb.
func InstallScript(deb, which string) ([]byte, error) {
	file, err := os.Open(deb)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	script, err := installScript(file, which)
	if err != nil {
		return nil, fmt.Errorf("%s: control.tar: %w", deb, err)
	}
	return script, nil
}

func installScript(deb io.Reader, which string) ([]byte, error) {
	_, content, err := openControl(deb)
	if err != nil {
		return nil, err
	}
	plain, err := archive.Decompress(content)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	for reader := tar.NewReader(io.LimitReader(plain, int64(maxControl))); ; {
		header, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil, nil
		case err != nil:
			return nil, err
		case path.Clean(header.Name) != which:
			continue
		case header.Size > int64(maxScript):
			return nil, fmt.Errorf("%s has %v; wanted at most %v", which, size.Bytes(header.Size), maxScript)
		}
		return io.ReadAll(reader)
	}
}

// dataOptions maps and selects the files of a package.
func dataOptions(name string, keep func(string) bool) archive.Options {
	if keep == nil {
		keep = func(path string) bool { return strings.HasPrefix(path, "usr/") }
	}
	return archive.Options{
		Name: name,
		Path: mergeUsr,
		Keep: func(header *tar.Header) bool {
			// base-files ships the links of merged /usr themselves, such as bin -> usr/bin.
			isLayout := header.Typeflag == tar.TypeSymlink && strings.TrimPrefix(header.Linkname, "/") == header.Name
			return !isLayout && keep(header.Name)
		},
	}
}

// aliased are the directories that are links into usr/ (https://wiki.debian.org/UsrMerge).
var aliased = []string{"bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32"}

// mergeUsr maps lib/x to usr/lib/x.
func mergeUsr(path string) string {
	top, _, _ := strings.Cut(path, "/")
	if slices.Contains(aliased, top) {
		return "usr/" + path
	}
	return path
}
