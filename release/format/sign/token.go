package sign

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

// tokenScheme begins the address of a key in a PKCS #11 token (RFC 7512): in a smart card, a hardware module or a cloud's key service.
const tokenScheme = "pkcs11:"

// tokenProgram uses the key. It is OpenSC's, so the token's module, which is code of its maker, runs in a process of its own.
const tokenProgram = "pkcs11-tool" // #nosec G101 -- no credential

// envPIN has the PIN for tokenProgram, and for nothing else.
const envPIN = "OEM_SYSEXT_PIN"

const exampleToken = "pkcs11:token=NAME;object=KEY?module-path=/usr/lib/MODULE.so&pin-source=/path/to/pin" // #nosec G101 -- a form

// token is a private key in a PKCS #11 token. The key does not leave it.
type token struct {
	key    []string // arguments that select module, token and key
	pin    string   // empty for tokens that ask for none
	public *rsa.PublicKey
	mu     sync.Mutex // sessions of one token are used one after the other
}

// openToken opens the key at an address. Its public half comes from the certificate, or else from the token.
func openToken(address string, certificate *x509.Certificate) (*token, error) {
	t := &token{}
	if err := t.parse(address); err != nil {
		return nil, fmt.Errorf("%s: %w; wanted %s", tokenScheme, err, exampleToken)
	}
	f := found{certificate: certificate}
	if certificate == nil {
		var err error
		if f.public, err = t.readPublic(context.Background()); err != nil {
			return nil, fmt.Errorf("%s: no public key in the token, and no certificate is set: %w", tokenScheme, err)
		}
	}
	public, err := f.check(Files{})
	t.public = public
	return t, err
}

// parse reads an address. Errors do not repeat it: it may have a PIN.
func (t *token) parse(address string) error {
	path, query, _ := strings.Cut(strings.TrimPrefix(address, tokenScheme), "?")
	attributes, err := parseAttributes(path, ";", map[string]string{"token": "--token-label", "object": "--label", "id": "--id", "type": ""})
	if err != nil {
		return err
	}
	options, err := parseAttributes(query, "&", map[string]string{"module-path": "--module", "pin-source": ""})
	if err != nil {
		return err
	}
	if kind := cmp.Or(attributes["type"], "private"); kind != "private" {
		return fmt.Errorf("type=%s is no private key", kind)
	}
	if attributes["--label"] == "" && attributes["--id"] == "" {
		return errors.New("neither object nor id names the key")
	}
	if !filepath.IsAbs(options["--module"]) {
		return errors.New("no module-path, or a relative one")
	}
	if id := attributes["--id"]; id != "" {
		attributes["--id"] = hex.EncodeToString([]byte(id))
	}
	t.key = []string{"--module", options["--module"]}
	for _, name := range []string{"--token-label", "--label", "--id"} {
		if attributes[name] != "" {
			t.key = append(t.key, name, attributes[name])
		}
	}
	if source := strings.TrimPrefix(options["pin-source"], "file:"); source != "" {
		content, mode, err := readSmall(source)
		if err != nil {
			return err
		}
		if mode&0o077 != 0 {
			return fmt.Errorf("%s holds a PIN that other users can read (mode %04o); run chmod 600 %[1]s", source, mode)
		}
		t.pin = strings.TrimRight(string(content), "\r\n")
	}
	return nil
}

// parseAttributes reads name=value pairs with percent-encoding. Results are by what names map to, or by name.
func parseAttributes(text, separator string, known map[string]string) (map[string]string, error) {
	values := map[string]string{}
	for pair := range strings.SplitSeq(text, separator) {
		if pair == "" {
			continue
		}
		name, encoded, _ := strings.Cut(pair, "=")
		to, is := known[name]
		if name == "pin-value" {
			return nil, errors.New("pin-value would put the PIN into logs and lists of processes; use pin-source, a file")
		}
		value, err := url.PathUnescape(encoded)
		if !is || err != nil || strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("the attribute %q is not understood", name)
		}
		values[cmp.Or(to, name)] = value
	}
	return values, nil
}

// run starts the program, with the environment that the module may need.
func (t *token) run(ctx context.Context, args ...string) error {
	args = slices.Concat(t.key, args)
	env := os.Environ()
	if t.pin != "" {
		args = append(args, "--login", "--pin", "env:"+envPIN)
		env = append(env, envPIN+"="+t.pin)
	}
	err := run.Run(ctx, run.Cmd{Program: tokenProgram, Args: args, Env: env})
	if errors.Is(err, exec.ErrNotFound) {
		err = fmt.Errorf("%w; install opensc", err)
	}
	return err
}

// readPublic reads the public half, which not every token has.
func (t *token) readPublic(ctx context.Context) (*rsa.PublicKey, error) {
	var public *rsa.PublicKey
	err := inFiles(nil, func(_, out string) error {
		return t.run(ctx, "--read-object", "--type", "pubkey", "--output-file", out)
	}, func(der []byte) (err error) {
		parsed, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return err
		}
		var isRSA bool
		if public, isRSA = parsed.(*rsa.PublicKey); !isRSA {
			return fmt.Errorf("the token's key is %T; wanted RSA", parsed)
		}
		return nil
	})
	return public, err
}

// sha256Prefix precedes a SHA-256 digest in a signature of PKCS #1 v1.5 (RFC 8017, section 9.2).
var sha256Prefix = []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}

func (t *token) sign(ctx context.Context, _ string, d digest.SHA256) (signature []byte, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err = inFiles(slices.Concat(sha256Prefix, d[:]), func(in, out string) error {
		return t.run(ctx, "--sign", "--mechanism", "RSA-PKCS", "--input-file", in, "--output-file", out)
	}, func(made []byte) error {
		signature = made
		return rsa.VerifyPKCS1v15(t.public, crypto.SHA256, d[:], made)
	})
	return signature, err
}

// inFiles calls use with the names of two files, the first with the input, and read with what use has written to the second.
func inFiles(input []byte, use func(in, out string) error, read func([]byte) error) error {
	dir, err := os.MkdirTemp("", "oem-sysext.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, input, 0o600); err != nil {
		return err
	}
	if err := use(in, out); err != nil {
		return err
	}
	made, _, err := readSmall(out)
	if err != nil {
		return err
	}
	return read(made)
}
