package ship_test

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
	"github.com/flatcar/oem-sysext/oem/image/pack/packtest"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/format/sums"
	"github.com/flatcar/oem-sysext/release/ship"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

func TestMain(m *testing.M) { testrelease.Main(m) }

// TestPayloadsHoldTheRelease writes back what machines would install: the partition and its kernel, and for each
// platform an image that has all of it alone.
func TestPayloadsHoldTheRelease(t *testing.T) {
	made := testrelease.Made(t)
	dir := t.TempDir()
	for i, p := range made.Manifest.Payloads {
		var said bytes.Buffer
		if err := ship.VerifyPayload(t.Context(), made.File(p.File), made.File(manifest.UpdateKeyFile), dir, &said); err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(said.String(), p.Image.SHA256.String()) {
			t.Errorf("%s has not the image that the manifest says: %s", p.File, &said)
		}
		if i == 0 {
			continue
		}
		s := made.Planned.Staged[i-1]
		if p.File != "oem-"+s.Platform.ID.Value+".gz" || p.Platform != s.Platform.ID.Value {
			t.Errorf("payload %d is %s, of %s; wanted one for %s", i, p.File, p.Platform, s.Platform.ID)
		}
		if diff := cmp.Diff(s.Tree.Listing(), packtest.Mounted(t, filepath.Join(dir, s.Platform.Image()+".raw")).Listing()); diff != "" {
			t.Errorf("%s: %s", p.File, diff)
		}
	}
	if len(made.Manifest.Payloads) != len(made.Planned.Staged)+1 || made.Manifest.Payloads[0].File != manifest.UpdateFile {
		t.Errorf("payloads are %v", made.Manifest.Payloads)
	}
	for name, as := range map[string]string{manifest.PartitionFile: ".bin", manifest.KernelFile: ".vmlinuz"} {
		want, _, err := digest.OfFile(made.File(name))
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := digest.OfFile(filepath.Join(dir, "flatcar_production_update"+as)); err != nil || got != want {
			t.Errorf("%s: %v, %v; wanted %v", name, got, err, want)
		}
	}
	lists, err := filepath.Glob(made.File("*.sha256"))
	if err != nil || len(lists) != len(made.Manifest.Payloads) {
		t.Errorf("sums are %v, %v", lists, err)
	}
	err = run.Run(t.Context(), run.Cmd{
		Program: "sha256sum", Args: append([]string{"--quiet", "--strict", "--check"}, lists...),
		Dir: made.Options.Dir(), Env: run.HostEnv("PATH"),
	})
	if err != nil {
		t.Error(err)
	}
}

// TestSignedElsewhere makes the release with nothing but the public key: it asks for signatures and writes nothing,
// and with the signatures it is the same release.
func TestSignedElsewhere(t *testing.T) {
	made := testrelease.Made(t)
	o := testrelease.Options(t, made.Options.Cache, t.TempDir())
	o.UpdateKey, o.UpdateSignatures = made.File(manifest.UpdateKeyFile), t.TempDir()
	_, err := release.Assemble(t.Context(), o)
	var request *sign.RequestError
	if !errors.As(err, &request) || request.Count != len(made.Manifest.Payloads) {
		t.Fatalf("error is %v", err)
	}
	if _, err := os.Stat(o.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a release without signatures is there: %v", err)
	}
	answer(t, made.Options.Cache, request.Path)
	if _, err := release.Assemble(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(made.File(sums.FileName))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(o.Dir(), sums.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

// answer makes the signatures that are asked for, with the development key.
func answer(t *testing.T, cache, request string) {
	t.Helper()
	content, err := os.ReadFile(request)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := sign.Open(sign.Files{Cache: cache})
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
