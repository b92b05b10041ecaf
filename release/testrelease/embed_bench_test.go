package testrelease

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/verity"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// BenchmarkEmbed embeds the release's images and hashes the partition, against cp of the partition and veritysetup format.
// Their ratio is reported as embed/cp+veritysetup.
//
//	go test -run '^$' -bench Embed -benchtime 3x -timeout 1h ./release/testrelease
func BenchmarkEmbed(b *testing.B) {
	made := Made(b)
	empty, w := made.Planned.Empty, made.Bench
	content := embed.Content{
		Files: activate.Release{Platforms: made.Planned.Content.Platforms}.System(), Images: made.Planned.Content.Images,
	}
	dir := b.TempDir()
	var ours, theirs time.Duration
	for b.Loop() {
		path := filepath.Join(dir, "usr.bin")
		started := time.Now()
		if err := content.Into(b.Context(), w.Blobs.Path(empty.SHA256), path, w.Blobs, made.Base.Epoch); err != nil {
			b.Fatal(err)
		}
		if _, _, err := embed.Seal(b.Context(), path, made.Base.Line(), io.Discard); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(started)

		copied := filepath.Join(dir, "copy.bin")
		started = time.Now()
		err := run.Run(b.Context(), run.Cmd{
			Program: "cp", Args: []string{"--sparse=never", w.Blobs.Path(empty.SHA256), copied}, Env: run.HostEnv("PATH"),
		})
		if err != nil {
			b.Fatal(err)
		}
		err = w.Tools.Run(b.Context(), toolroot.Cmd{Program: "veritysetup", Args: format(copied), Write: []string{copied}})
		if err != nil {
			b.Fatal(err)
		}
		theirs += time.Since(started)
		if err := os.Remove(copied); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "embed/cp+veritysetup")
}

// format are arguments of veritysetup that hash a partition as Seal does.
func format(partition string) []string {
	return []string{
		"format", fmt.Sprintf("--hash-offset=%d", btrfs.FlatcarFilesystem),
		fmt.Sprintf("--data-blocks=%d", btrfs.FlatcarFilesystem/verity.BlockSize), partition, partition,
	}
}
