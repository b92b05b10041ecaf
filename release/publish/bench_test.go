package publish

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/publish/github/githubtest"
)

// BenchmarkPublish publishes 1.5 GB in 60 files and uploads the same with curl to the same server, and reports how much
// faster or slower that was, and what of memory the publisher took at most.
func BenchmarkPublish(b *testing.B) {
	needs.Programs(b, "curl")
	const count, each = 60, 25 * size.MiB
	r := &Release{Dir: b.TempDir(), Tag: "v1", Title: "v1"}
	for i := range count {
		name := fmt.Sprintf("oem-%02d.raw", i)
		f, err := os.Create(filepath.Join(r.Dir, name))
		if err != nil {
			b.Fatal(err)
		}
		content := make([]byte, size.MiB)
		for at := range content {
			content[at] = byte(at * (i + 7) >> 3)
		}
		for range each / size.MiB {
			if _, err := f.Write(content); err != nil {
				b.Fatal(err)
			}
		}
		f.Close()
		sum, n, err := digest.OfFile(f.Name())
		if err != nil {
			b.Fatal(err)
		}
		r.Files = append(r.Files, manifest.File{Name: name, Size: size.Bytes(n), SHA256: sum})
	}
	b.SetBytes(int64(count * each))
	for b.Loop() {
		b.StopTimer()
		s := githubtest.New(b)
		s.Keep = false
		curl := uploadWithCurl(b, s, r)
		p := publisher(b, s, io.Discard)
		runtime.GC()
		b.StartTimer()
		begun := time.Now()
		if err := p.Publish(b.Context(), r, true, io.Discard); err != nil {
			b.Fatal(err)
		}
		own := time.Since(begun)
		b.StopTimer()
		b.ReportMetric(curl.Seconds()/own.Seconds(), "of-curl")
		b.ReportMetric(float64(peak(b))/float64(size.MiB), "MiB-peak")
		b.StartTimer()
	}
}

// uploadWithCurl uploads all files with one process, to a draft of its own.
func uploadWithCurl(b *testing.B, s *githubtest.Server, r *Release) time.Duration {
	draft := s.Add(githubtest.Release{Tag: "curl", Draft: true})
	args := []string{"--silent", "--show-error", "--fail", "--output", "/dev/null", "--request", http.MethodPost,
		"--header", "Authorization: Bearer " + githubtest.Token, "--header", "Content-Type: application/octet-stream"}
	for i, f := range r.Files {
		if i > 0 {
			args = append(args, "--next")
			args = append(args, "--silent", "--show-error", "--fail", "--output", "/dev/null", "--request", http.MethodPost,
				"--header", "Authorization: Bearer "+githubtest.Token, "--header", "Content-Type: application/octet-stream")
		}
		args = append(args, "--upload-file", filepath.Join(r.Dir, f.Name),
			fmt.Sprintf("%s/api/uploads/repos/%s/releases/%d/assets?name=%s", s.URL, githubtest.Repository, draft.ID, f.Name))
	}
	begun := time.Now()
	if out, err := exec.CommandContext(b.Context(), "curl", args...).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return time.Since(begun)
}

// peak returns the most memory that this process, which is the server as well, has had at a time.
func peak(b *testing.B) (bytes int64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	b.Fatal("no VmHWM")
	return 0
}
