package partition

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/partition/integrate"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Content is what a release embeds in the base's partition.
type Content struct {
	Platforms []activate.Platform  // which images make up each platform
	Choices   []activate.Extension // extensions that machines may enable
	Images    []embed.Image
	Trust     Trust
	Updates   Updates
	Early     []embed.File // for the second stage of the initramfs, apart from the activation
	Integrate bool         // Flatcar's own scripts leave the OEM images of the release alone
}

// Embed embeds content in a partition, gives its file system the UUID of a release, and hashes it.
func Embed(ctx context.Context, bench *setup.Bench, b *bases.Base, on Partition, c Content) (Partition, error) {
	update, err := c.Updates.files(b)
	if err != nil {
		return Partition{}, err
	}
	stage, err := c.secondStage(ctx, bench, b, on)
	if err != nil {
		return Partition{}, err
	}
	postinst, err := c.postinst(b)
	if err != nil {
		return Partition{}, err
	}
	activation := activate.Release{Platforms: c.Platforms, Extensions: c.Choices, Integrated: c.Integrate}
	content := embed.Content{
		Images: c.Images,
		Files:  slices.Concat(activation.System(), c.Trust.Files(""), update, postinst, stage.files()),
	}
	inputs := []any{revision, on.SHA256, content, b.Line(), b.Epoch.Unix(), ZstdVersion()}
	return store.Memo(ctx, bench.Results.Step("embed", inputs), Partition.blobs, func() (Partition, error) {
		var hashed Verity
		made, err := makeImage(ctx, bench, func(path string) error {
			err := bench.Timed("embedding", func() error {
				return content.Into(ctx, bench.Blobs.Path(on.SHA256), path, bench.Blobs, b.Epoch)
			})
			if err != nil {
				return err
			}
			hashed, err = seal(ctx, bench, b.Line(), path)
			return err
		})
		made.Verity = hashed
		return made, err
	})
}

// postinst returns the base's postinst with the lines that make it leave the OEM images alone, and what they need. If it is to be as it
// was, only lines of an earlier release are removed.
func (c Content) postinst(b *bases.Base) ([]embed.File, error) {
	for _, name := range integrate.Postinst.Paths {
		if e, there := b.Target.Usr.Find("/usr/" + name); !there || e.Type != tree.File {
			continue
		}
		script, err := os.ReadFile(filepath.Join(b.Usr, name))
		if err != nil {
			return nil, err
		}
		edited, err := c.edit(integrate.Postinst, name, "/usr/"+name+" of the base", script)
		if err == nil && c.Integrate {
			edited = append(edited, integrate.Files()...)
		}
		return edited, err
	}
	return nil, nil // it is not updated by Flatcar's means
}

// edit returns one of Flatcar's scripts as it is to be, if it has to be changed for that.
func (c Content) edit(s integrate.Script, path, name string, script []byte) ([]embed.File, error) {
	edited := integrate.Remove(script)
	if c.Integrate {
		var err error
		if edited, err = s.Edit(name, script); err != nil {
			return nil, err
		}
	} else if bytes.Equal(edited, script) {
		return nil, nil
	}
	return []embed.File{{Path: path, Mode: 0o755, Content: edited}}, nil
}

// seal gives the file system its UUID, and hashes it with that.
func seal(ctx context.Context, bench *setup.Bench, line, path string) (Verity, error) {
	step := bench.Progress.Bytes("hashing", int64(btrfs.FlatcarFilesystem))
	defer step.End()
	root, params, err := embed.Seal(ctx, path, line, step)
	return Verity{root, line, hex.EncodeToString(params.Salt), btrfs.UUID(params.UUID).String()}, err
}

// Our certificate and those of signed extensions, relative to /usr.
const (
	certificatePrefix = "lib/verity.d/oem-sysext"
	CertificateFile   = certificatePrefix + ".crt"
)

// Trust holds the certificates by which machines verify images. One signed image without its certificate stops the whole merge.
type Trust struct {
	Own    *x509.Certificate // of the release's images; nil when they are bare
	Others []Trusted         // of signed extensions
}

// Trusted is an extension's certificate.
type Trusted struct {
	Extension   string
	Certificate *x509.Certificate
}

// Files returns the certificates below a directory: /usr, or the root of an initramfs. Before 260, systemd in an initramfs does
// not read those below /sysroot.
func (t Trust) Files(below string) []embed.File {
	var files []embed.File
	add := func(path string, certificate *x509.Certificate) {
		files = append(files, embed.File{Path: below + path, Mode: 0o644, Content: sign.EncodeCertificate(certificate)})
	}
	if t.Own != nil {
		add(CertificateFile, t.Own)
	}
	for _, o := range t.Others {
		add(certificatePrefix+"-"+o.Extension+"-"+digest.Of(o.Certificate.Raw).Short()+".crt", o.Certificate)
	}
	return files
}
