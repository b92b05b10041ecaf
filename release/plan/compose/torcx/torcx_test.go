package torcx

import (
	"archive/tar"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/tree"
)

const unit = `[Unit]
Description=Docker
Requires=torcx.target
[Service]
EnvironmentFile=/run/metadata/torcx
ExecStart=/usr/bin/env PATH=${TORCX_BINDIR}:${PATH} ${TORCX_BINDIR}/dockerd
`

// pack writes a package. Names that end in a slash are directories, contents after -> are targets of links.
func pack(t *testing.T, files ...[2]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "docker:20.torcx.tgz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	packed := gzip.NewWriter(f)
	w := tar.NewWriter(packed)
	for _, file := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: file[0], Mode: 0o644, Size: int64(len(file[1])), Uid: os.Getuid(), Gid: os.Getgid()}
		if strings.Contains(file[0], "bin/") {
			h.Mode = 0o755
		}
		target, isLink := strings.CutPrefix(file[1], "->")
		if isLink {
			h.Typeflag, h.Linkname, h.Size, file[1] = tar.TypeSymlink, target, 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(file[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

const described = `{"kind": "image-manifest-v0", "value": {"bin": ["/bin/dockerd", "/bin/docker"], "units": ["/lib/systemd/system/docker.service",
"/lib/systemd/system/docker.service.d"], "network": ["/net/50-docker.network"], "sysusers": ["/s/docker.conf"], "tmpfiles": ["/t/docker.conf"], "udev_rules": ["/u/80-docker.rules"]}}`

func TestConvert(t *testing.T) {
	file := pack(t, [2]string{".torcx/manifest.json", described}, [2]string{"bin/dockerd", "daemon"}, [2]string{"bin/docker", "->dockerd"},
		[2]string{"lib/systemd/system/docker.service", unit}, [2]string{"lib/systemd/system/docker.service.d/10.conf", "[Unit]\n"},
		[2]string{"net/50-docker.network", "n"}, [2]string{"s/docker.conf", "s"}, [2]string{"t/docker.conf", "t"}, [2]string{"u/80-docker.rules", "u"}, [2]string{"share/unused", "x"})
	to := filepath.Join(t.TempDir(), "docker")
	if err := Convert(file, to, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	found, err := tree.Scan(to, digest.OfReader)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range found {
		if e.Type != tree.Dir {
			files = append(files, e.Path+" "+e.Target)
		}
	}
	want := []string{
		"/usr/bin/docker dockerd", "/usr/bin/dockerd ", "/usr/lib/systemd/network/50-docker.network ", "/usr/lib/systemd/system/docker.service ",
		"/usr/lib/systemd/system/docker.service.d/10.conf ", "/usr/lib/sysusers.d/docker.conf ", "/usr/lib/tmpfiles.d/docker.conf ", "/usr/lib/udev/rules.d/80-docker.rules ",
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Error(diff)
	}
	got, err := os.ReadFile(filepath.Join(to, unitDir, "docker.service"))
	if diff := cmp.Diff("[Unit]\nDescription=Docker\n[Service]\nExecStart=/usr/bin/env PATH=/usr/bin:${PATH} /usr/bin/dockerd\n", string(got)); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if err := Convert(file, to, t.TempDir()); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("error is %v", err)
	}
}

func TestRefused(t *testing.T) {
	manifestOf := func(text string) [2]string { return [2]string{".torcx/manifest.json", text} }
	for want, files := range map[string][][2]string{
		"has no .torcx/manifest.json":        {{"bin/a", "a"}},
		`kind "x"; wanted image-manifest-v0`: {manifestOf(`{"kind": "x"}`)},
		"manifest.json: unexpected end":      {manifestOf("{")},
		`asset "/bin/a": `:                   {manifestOf(`{"kind": "image-manifest-v0", "value": {"bin": ["/bin/a"]}}`)},
		`asset "/../../etc/passwd": `:        {manifestOf(`{"kind": "image-manifest-v0", "value": {"bin": ["/../../etc/passwd"]}}`)},
		`asset "/": is the whole package`:    {manifestOf(`{"kind": "image-manifest-v0", "value": {"units": ["/"]}}`)},
		`entry "../evil"`:                    {{"../evil", "x"}},
	} {
		to := filepath.Join(t.TempDir(), "out")
		if err := Convert(pack(t, files...), to, t.TempDir()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(described))
	f.Add([]byte(`{"kind": "image-manifest-v0", "value": null}`))
	f.Fuzz(func(_ *testing.T, content []byte) {
		if m, err := parse(content); err == nil {
			m.assets()
		}
	})
}
