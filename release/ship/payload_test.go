package ship

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/image/pack/packtest"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sign"
)

// TestPayloadsHoldTheRelease writes back what machines would install: the partition and its kernel, and for each
// platform an image that has all of it alone.
func TestPayloadsHoldTheRelease(t *testing.T) {
	theRelease(t)
	dir := t.TempDir()
	for i, p := range made.manifest.Payloads {
		var said bytes.Buffer
		if err := VerifyPayload(t.Context(), file(p.File), file(updateKeyFile), dir, &said); err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(said.String(), p.Image.SHA256.String()) {
			t.Errorf("%s has not the image that the manifest says: %s", p.File, &said)
		}
		if i == 0 {
			continue
		}
		s := made.staged[i-1]
		if p.File != "oem-"+s.Platform.ID.Value+".gz" || p.Platform != s.Platform.ID.Value {
			t.Errorf("payload %d is %s, of %s; wanted one for %s", i, p.File, p.Platform, s.Platform.ID)
		}
		if diff := cmp.Diff(s.Tree.Listing(), packtest.Mounted(t, filepath.Join(dir, s.Platform.Image()+".raw")).Listing()); diff != "" {
			t.Errorf("%s: %s", p.File, diff)
		}
	}
	if len(made.manifest.Payloads) != len(made.staged)+1 || made.manifest.Payloads[0].File != updateFile {
		t.Errorf("payloads are %v", made.manifest.Payloads)
	}
	for name, as := range map[string]string{partitionFile: ".bin", kernelFile: ".vmlinuz"} {
		want, _, err := digest.OfFile(file(name))
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := digest.OfFile(filepath.Join(dir, "flatcar_production_update"+as)); err != nil || got != want {
			t.Errorf("%s: %v, %v; wanted %v", name, got, err, want)
		}
	}
	sums, err := filepath.Glob(file("*" + sumSuffix))
	if err != nil || len(sums) != len(made.manifest.Payloads) {
		t.Errorf("sums are %v, %v", sums, err)
	}
	err = run.Run(t.Context(), run.Cmd{
		Program: "sha256sum", Args: append([]string{"--quiet", "--strict", "--check"}, sums...),
		Dir: made.workshop.Dir(), Env: run.HostEnv("PATH"),
	})
	if err != nil {
		t.Error(err)
	}
}

// TestSignedElsewhere makes the release with nothing but the public key: it asks for signatures and writes nothing,
// and with the signatures it is the same release.
func TestSignedElsewhere(t *testing.T) {
	theRelease(t)
	o := options(t, made.workshop.Cache, t.TempDir())
	o.Update = sign.Files{Key: file(updateKeyFile), Signatures: t.TempDir()}
	_, err := Assemble(t.Context(), o)
	var request *sign.RequestError
	if !errors.As(err, &request) || request.Count != len(made.manifest.Payloads) {
		t.Fatalf("error is %v", err)
	}
	if _, err := os.Stat(o.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a release without signatures is there: %v", err)
	}
	answer(t, request.Path)
	if _, err := Assemble(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(file(sumsFile))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(o.Dir(), sumsFile))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

// answer makes the signatures that are asked for, with the development key.
func answer(t *testing.T, request string) {
	t.Helper()
	content, err := os.ReadFile(request)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := sign.Open(sign.Files{Cache: made.workshop.Cache})
	if err != nil {
		t.Fatal(err)
	}
	for word := range strings.FieldsSeq(string(content)) {
		name, found := strings.CutSuffix(strings.Trim(word, `",`), ".sig")
		if !found {
			continue
		}
		d, err := digest.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		signature, err := signer.Sign(t.Context(), "", d)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(request), name+".sig"), signature, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPayloadsKeepToTheLayout(t *testing.T) {
	theRelease(t)
	w := *made.workshop
	large := manifest.Manifest{Files: []manifest.File{{Name: partitionFile, Size: size.GiB + 1}}}
	err := w.addUpdates(t.Context(), &large, nil, fitted{})
	if err == nil || !strings.Contains(err.Error(), "machines take 1.0 GiB; see release/layouts.yaml") {
		t.Errorf("a partition above 1 GiB: %v", err)
	}
	w.layout.OEMPartition.Bytes = 5 * size.MiB
	b, err := w.oemBudget(made.staged[:2], []pack.Image{{Size: 5 * size.MiB}, {Size: 6 * size.MiB}})
	want := made.staged[1].Platform.Image() + " takes 6.0 MiB, and the OEM partition has 5.0 MiB"
	if err == nil || !strings.Contains(err.Error(), want) || b.Used != 6*size.MiB {
		t.Errorf("error is %v, budget %v; want %q", err, b, want)
	}
}
