package testreaders

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/upstream/signature"
)

// Signatures of testdata/openpgp/content, made by gpg and minisign. Their private keys were thrown away.
var (
	//go:embed testdata/openpgp/content
	signedContent []byte
	//go:embed testdata/openpgp/keyring.gpg
	keyring []byte
	//go:embed testdata/openpgp/rsa.sig
	rsaSignature []byte
	//go:embed testdata/openpgp/ed.sig
	edSignature []byte
	//go:embed testdata/openpgp/both.sig
	bothSignatures []byte
	//go:embed testdata/minisign/key.pub
	minisignKey string
	//go:embed testdata/minisign/content.minisig
	minisignature []byte
)

// laid writes the content that is signed, and a key, where tools find them.
func laid(key string) string {
	return fmt.Sprintf("base64 -d <<<%s >/tmp/content; base64 -d <<<'%s' >/tmp/key", base64.StdEncoding.EncodeToString(signedContent), base64.StdEncoding.EncodeToString([]byte(key)))
}

func nothing(string, string) []string { return nil }

// openPGPFormat is judged by gpgv as apt uses it (methods/gpgv.cc): one signature must be good, and none may be bad. Those by unknown
// keys do not matter.
func openPGPFormat(*testing.T) format {
	sound := []input{{"RSA", rsaSignature}, {"EdDSA", edSignature}, {"both", bothSignatures}, {"armored", armored(rsaSignature)}}
	return format{
		sound: sound,
		mutants: func(longer int) (all []input) {
			for _, in := range sound[:3] {
				all = slices.Concat(all, followed(in), flipped(in, 50*longer))
				var places []int
				var fields []field
				for at := range min(60, len(in.content)) {
					places = append(places, at)
					fields = append(fields, field{"a byte", at, 1})
				}
				all = slices.Concat(all, parts(in, append(places, len(in.content)-40, len(rsaSignature)%len(in.content))...), numbers(in, nil, fields...))
			}
			text := sound[3]
			return slices.Concat(all, followed(text), lines(text, "\n", "Version: x\n", "rubbish\n", "=abcd\n", "-----BEGIN PGP SIGNATURE-----\n", "-----END PGP SIGNATURE-----\n", " \n"), characters(text, 19, " ", "\n", "A", "=", "\x00", "-"), flipped(text, 30*longer))
		},
		ours: func(_ context.Context, file, _ string) ([]string, error) {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			keys, err := signature.ParseKeyring("keyring", keyring)
			if err != nil {
				return nil, err
			}
			return nil, signature.OpenPGPFile(keys, bytes.NewReader(signedContent), content, time.Now())
		},
		theirs: []tool{{name: "gpgv", prepare: laid(string(keyring)), script: `gpgv --status-fd 1 --keyring /tmp/key "$1" /tmp/content >said 2>&1; cat said; grep -q ' GOODSIG ' said && ! grep -q ' BADSIG ' said`, read: nothing}},
	}
}

// armored writes a signature as text (RFC 9580, 6). The checksum is optional.
func armored(body []byte) []byte {
	return []byte("-----BEGIN PGP SIGNATURE-----\n\n" + wrapped(base64.StdEncoding.EncodeToString(body)) + "-----END PGP SIGNATURE-----\n")
}

func wrapped(text string) (all string) {
	for line := range slices.Chunk([]byte(text), 64) {
		all += string(line) + "\n"
	}
	return all
}

func minisignFormat(*testing.T) format {
	sound := []input{{"minisign", minisignature}}
	key := strings.Split(minisignKey, "\n")[1]
	return format{
		sound: sound,
		mutants: func(longer int) []input {
			in := sound[0]
			return slices.Concat(followed(in), flipped(in, 100*longer), lines(in, "\n", "rubbish\n", " \n", "untrusted comment: x\n", "trusted comment: x\n"), characters(in, 7, " ", "\n", "A", "=", "\x00", "\r", "é"))
		},
		ours: func(_ context.Context, file, _ string) ([]string, error) {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			parsed, err := signature.MinisignKey(key)
			if err != nil {
				return nil, err
			}
			return nil, signature.Minisign(parsed, bytes.NewReader(signedContent), content)
		},
		theirs: []tool{{name: "minisign", prepare: laid(""), script: "minisign -V -q -P " + key + ` -m /tmp/content -x "$1"`, read: nothing}},
	}
}
