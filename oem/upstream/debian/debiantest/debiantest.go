// Package debiantest makes Debian packages and indexes for tests.
package debiantest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ulikunitz/xz"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// Published is the modification time of files in packages.
var Published = time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)

// Compress compresses with xz.
func Compress(t testing.TB, text string) string {
	t.Helper()
	var out bytes.Buffer
	w, err := xz.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	finish(t, w, text)
	return out.String()
}

// Stanza returns the index stanza of a package, with further lines appended.
func Stanza(name, version string, lines ...string) string {
	text := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nDescription: test\nFilename: pool/%s_%s.deb\nSize: 10\nSHA256: %s\n",
		name, version, name, version, digest.Of([]byte(name+version)))
	for _, line := range lines {
		text += line + "\n"
	}
	return text
}

// Member is one member of an ar archive.
type Member [2]string

// Ar writes an ar archive.
func Ar(members ...Member) []byte {
	out := []byte("!<arch>\n")
	for _, m := range members {
		name, content := m[0], m[1]
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", name, 0, 0, 0, "100644", len(content), content)
		if len(content)%2 == 1 {
			out = append(out, '\n')
		}
	}
	return out
}

// Tar writes a tar archive of files, directories ("x/") and links ("x -> y").
func Tar(t testing.TB, names ...string) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range names {
		header := tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(name)), Uid: os.Getuid(), Gid: os.Getgid(), ModTime: Published}
		content := name
		if link, target, isLink := strings.Cut(name, " -> "); isLink {
			header.Name, header.Linkname, header.Typeflag, header.Size, content = link, target, tar.TypeSymlink, 0, ""
		} else if strings.HasSuffix(name, "/") {
			header.Typeflag, header.Size, content = tar.TypeDir, 0, ""
		}
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Control writes the control member of a package, with a script that configures it if there is one, and one that runs before.
func Control(t testing.TB, control string, scripts ...string) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i, script := range scripts {
		if err := w.WriteHeader(&tar.Header{Name: []string{"./postinst", "./preinst"}[i], Typeflag: tar.TypeReg, Size: int64(len(script))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, script); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.WriteHeader(&tar.Header{Name: "./control", Typeflag: tar.TypeReg, Size: int64(len(control))}); err != nil {
		t.Fatal(err)
	}
	finish(t, w, control)
	return out.String()
}

// Deb writes a package with these files.
func Deb(t testing.TB, files ...string) []byte {
	t.Helper()
	return Ar(
		Member{"debian-binary", "2.0\n"},
		Member{"control.tar.xz", Compress(t, Control(t, "Package: tool\nVersion: 1.0\nArchitecture: all\n"))},
		Member{"data.tar.xz", Compress(t, Tar(t, files...))},
	)
}

func finish(t testing.TB, w io.WriteCloser, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
