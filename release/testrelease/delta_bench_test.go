package testrelease

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/payload"
	"github.com/flatcar/oem-sysext/release/format/payload/chunks"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// BenchmarkDelta makes the update from a partition with the release's images to one that has another line in a file, against
// zstd --patch-from of the two. Reported are the ratio of the times, as delta/zstd, and of the sizes of this update and the whole
// one, as delta/whole.
//
//	go test -run '^$' -bench Delta -benchtime 3x -timeout 1h ./release/testrelease
func BenchmarkDelta(b *testing.B) {
	needs.Programs(b, "zstd")
	made := Made(b)
	dir := b.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{"old.bin": "a line\n", "new.bin": "another line\n"} {
		content := embed.Content{
			Files: append(activate.Release{Platforms: made.Planned.Content.Platforms}.System(),
				embed.File{Path: "share/doc/file", Mode: 0o644, Content: []byte(text)}),
			Images: made.Planned.Content.Images,
		}
		if err := content.Into(b.Context(), made.Bench.Blobs.Path(made.Planned.Empty.SHA256), at(name), made.Bench.Blobs, made.Base.Epoch); err != nil {
			b.Fatal(err)
		}
		if _, _, err := embed.Seal(b.Context(), at(name), made.Base.Line(), io.Discard); err != nil {
			b.Fatal(err)
		}
	}
	writer := &payload.Writer{
		Compress: chunks.Compressor{Tools: made.Bench.Tools, Scratch: dir}.Compress, Scratch: dir, Jobs: made.Bench.Jobs,
	}
	kernel := made.File(manifest.KernelFile)
	var ours, theirs time.Duration
	var sent int64
	for b.Loop() {
		started := time.Now()
		old, err := payload.Files{Image: at("old.bin"), Kernel: kernel}.Open()
		if err != nil {
			b.Fatal(err)
		}
		updated, err := payload.Files{Image: at("new.bin"), Kernel: kernel}.Open()
		if err != nil {
			b.Fatal(err)
		}
		out, err := os.Create(at("delta"))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := writer.WriteDelta(b.Context(), out, made.Keys.Update.Public(), old.Installed, updated.Installed); err != nil {
			b.Fatal(err)
		}
		old.Close()
		updated.Close()
		if err := out.Close(); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(started)
		if _, sent, err = digest.OfFile(at("delta")); err != nil {
			b.Fatal(err)
		}

		started = time.Now()
		err = run.Run(b.Context(), run.Cmd{
			Program: "zstd", Args: []string{"-q", "-f", "-1", "--long=30", "--patch-from", at("old.bin"), at("new.bin"), "-o", at("patch")},
			Env: run.HostEnv("PATH"),
		})
		if err != nil {
			b.Fatal(err)
		}
		theirs += time.Since(started)
	}
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "delta/zstd")
	b.ReportMetric(float64(sent)/float64(made.Manifest.File(manifest.UpdateFile).Size), "delta/whole")
}
