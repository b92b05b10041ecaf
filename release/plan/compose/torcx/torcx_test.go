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
		"/usr/share/unused ",
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

// TestEverythingIsKept keeps libraries, configuration and the rest of a package, and writes their places into texts.
func TestEverythingIsKept(t *testing.T) {
	const own = `{"kind": "image-manifest-v0", "value": {"bin": ["/bin/containerd", "/bin/shim"], "units": ["/lib/systemd/system/containerd.service"]}}`
	const service = "[Unit]\nAfter=torcx.target\n[Service]\nEnvironmentFile=/run/metadata/torcx\n" +
		"Environment=CONFIG=${TORCX_UNPACKDIR}${TORCX_IMAGEDIR}/usr/share/containerd/config.toml\n" +
		"Environment=LIBS=$TORCX_UNPACKDIR$TORCX_IMAGEDIR/lib:/run/torcx/unpack/docker/etc/x.conf\n" +
		"ExecStart=${TORCX_UNPACKDIR}${TORCX_IMAGEDIR}/bin/containerd --root ${TORCX_UNPACKDIR}${TORCX_IMAGEDIR} ${TORCX_BINDIR}/shim\n"
	binary := "\x7fELF\x00/run/torcx/bin"
	to := filepath.Join(t.TempDir(), "docker")
	err := Convert(pack(t, [2]string{".torcx/manifest.json", own}, [2]string{"bin/containerd", binary}, [2]string{"bin/shim", "#!/bin/sh\nexec /run/torcx/bin/containerd\n"},
		[2]string{"lib/libx.so.1", "->libx.so.1.0"}, [2]string{"lib/libx.so.1.0", binary}, [2]string{"lib/systemd/system/containerd.service", service},
		[2]string{"usr/share/containerd/config.toml", "bin = \"/run/torcx/unpack/docker/bin/shim\"\n"}, [2]string{"etc/x.conf", "x"}, [2]string{"README", "r"}), to, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	found, err := tree.Scan(to, digest.OfReader)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range found {
		switch content, err := os.ReadFile(filepath.Join(to, e.Path)); {
		case e.Type == tree.Symlink:
			got[e.Path] = "->" + e.Target
		case e.Type == tree.File && err == nil:
			got[e.Path] = string(content)
		}
	}
	want := map[string]string{
		"/usr/bin/containerd": binary, "/usr/bin/shim": "#!/bin/sh\nexec /usr/bin/containerd\n",
		"/usr/lib/libx.so.1": "->libx.so.1.0", "/usr/lib/libx.so.1.0": binary,
		"/usr/lib/systemd/system/containerd.service": "[Unit]\n[Service]\nEnvironment=CONFIG=/usr/share/containerd/config.toml\n" +
			"Environment=LIBS=/usr/lib:/usr/share/torcx/etc/x.conf\nExecStart=/usr/bin/containerd --root /usr /usr/bin/shim\n",
		"/usr/share/containerd/config.toml": "bin = \"/usr/bin/shim\"\n", "/usr/share/torcx/etc/x.conf": "x", "/usr/share/torcx/README": "r",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	twice := pack(t, [2]string{".torcx/manifest.json", `{"kind": "image-manifest-v0", "value": {"bin": ["/opt/x"]}}`}, [2]string{"opt/x", "1"}, [2]string{"usr/bin/x", "2"})
	if err := Convert(twice, filepath.Join(t.TempDir(), "out"), t.TempDir()); err == nil || !strings.Contains(err.Error(), "opt/x and usr/bin/x both go to /usr/bin/x; remove one") {
		t.Errorf("two files at one place: %v", err)
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
