package store_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
)

// webdav is a remote cache as many have it: a web server that takes files. The first argument is the port, the second the directory.
const webdav = `
pid %[2]s/pid; error_log stderr crit; daemon off; master_process off;
events {}
http {
	access_log off; client_max_body_size 0; client_body_temp_path %[2]s/body;
	proxy_temp_path %[2]s/t; fastcgi_temp_path %[2]s/t; uwsgi_temp_path %[2]s/t; scgi_temp_path %[2]s/t;
	server {
		listen 127.0.0.1:%[1]d; root %[2]s/files;
		location / { dav_methods PUT; create_full_put_path on; dav_access user:rw group:r all:r; }
	}
}`

// startNginx serves a directory that files can be put into, and returns its address.
func startNginx(t *testing.T) (address, files string) {
	t.Helper()
	judges := toolroottest.Judges(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, webdav, port, dir), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "files"), 0o755); err != nil {
		t.Fatal(err)
	}
	server := exec.CommandContext(t.Context(), "bwrap",
		"--ro-bind", judges.Path("usr"), "/usr", "--ro-bind", judges.Path("etc"), "/etc", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
		"--dev", "/dev", "--tmpfs", "/var", "--bind", dir, dir, "--die-with-parent", "/usr/sbin/nginx", "-p", dir, "-c", config)
	server.Stderr = t.Output()
	server.Cancel = func() error { return server.Process.Signal(syscall.SIGTERM) }
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Wait() }) // the test's context has ended by then
	address = fmt.Sprintf("http://127.0.0.1:%d", port)
	for range 100 {
		if response, err := http.Get(address); err == nil {
			response.Body.Close()
			return address, filepath.Join(dir, "files")
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("nginx does not answer")
	return "", ""
}

// TestNginx shares results and a directory through a real server, and shows that what it keeps is under its own digest.
func TestNginx(t *testing.T) {
	address, files := startNginx(t)
	share := func(write string) (runs int, log string) {
		var said strings.Builder
		shared, err := store.OpenShared([]string{address}, write, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		blobs, err := store.OpenBlobs(t.TempDir(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		results, err := store.OpenResults(t.TempDir(), blobs, shared)
		if err != nil {
			t.Fatal(err)
		}
		content := strings.Repeat("0123456789abcdef", 1<<16)
		names := func(d digest.SHA256) []store.Blob { return []store.Blob{{SHA256: d, Size: int64(len(content))}} }
		d, err := store.Memo(t.Context(), results.Step("step", "input"), names, func() (digest.SHA256, error) {
			runs++
			d, _, err := blobs.Add(strings.NewReader(content))
			return d, err
		})
		if err != nil || !blobs.Has(d, int64(len(content))) {
			t.Fatalf("%v, %v", d, err)
		}
		path := filepath.Join(t.TempDir(), "dir")
		err = store.Dir(t.Context(), results, path, digest.Of([]byte("dir")), func(temp string) error {
			runs++
			return os.WriteFile(filepath.Join(temp, "file"), []byte("x"), 0o600)
		})
		if info, statErr := os.Stat(filepath.Join(path, "file")); err != nil || statErr != nil || info.Mode() != 0o600 {
			t.Fatalf("%v, %v", err, statErr)
		}
		return runs, said.String()
	}
	for i, test := range []struct {
		write string
		runs  int
	}{{"", 2}, {address, 2}, {address, 0}, {"", 0}} {
		if runs, log := share(test.write); runs != test.runs || log != "" {
			t.Errorf("machine %d: %d runs; wanted %d\n%s", i, runs, test.runs, log)
		}
	}
	kept, err := filepath.Glob(filepath.Join(files, "cas/*"))
	if err != nil || len(kept) != 2 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	for _, path := range kept {
		if d, _, err := digest.OfFile(path); err != nil || d.String() != filepath.Base(path) {
			t.Errorf("%s has the digest %v, %v", path, d, err)
		}
	}
}
