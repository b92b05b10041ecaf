package recipe

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/rooted"
)

// TestNothingLeadsOut says that a recipe's directory is all that a recipe can bring.
func TestNothingLeadsOut(t *testing.T) {
	const (
		dirSource = "sources: [{dir: {path: conf/deep, to: /usr/share/x}}]\n"
		files     = "files: files/\n"
		script    = "build: {script: {run: build/build.sh}}\n"
		own       = "files/usr/lib/own"
	)
	link := func(target string) func(string) error {
		return func(name string) error { return os.Symlink(target, name) }
	}
	windows := func(content string) func(string) error {
		return func(name string) error { return os.WriteFile(name, []byte(content), 0o600) }
	}
	for what, c := range map[string]struct {
		definition, name string
		make             func(name string) error
		want             string // empty: taken
	}{
		"a file":                              {files, "files/usr/x", func(name string) error { return os.WriteFile(name, nil, 0o600) }, ""},
		"a unit that is masked":               {files, "files/usr/x", link("/dev/null"), ""},
		"a link in the image":                 {files, "files/usr/x", link("../etc/x"), ""},
		"a link out of the image":             {files, "files/usr/x", link("../../../../etc/shadow"), `files/usr/x: is a link to "../../../../etc/shadow", which leads out of the image`},
		"a link from a deeper place":          {dirSource, "conf/deep/x", link("../../../x"), ""},
		"files is a link":                     {files, "files", link("/etc"), `recipe.yaml:7: directory "files/" is none; wanted one beside recipe.yaml (recipes/a/files is a link to "/etc"`},
		"a directory above is a link":         {dirSource, "conf", link("../../.cache"), `conf is a link to "../../.cache"`},
		"the script's directory is a link":    {script, "build", link("../../.."), `build: is a link to "../../.."`},
		"a link out of the script's":          {script, "build/x", link("../files"), `build/x: is a link to "../files", which leads out of the script's directory`},
		"an absolute one":                     {script, "build/x", link("/etc/shadow"), `"/etc/shadow", which leads out of the script's`},
		"one within the script's":             {script, "build/x", link("./build.sh"), ""},
		"a script for Windows":                {script, "build/x", windows("#!/bin/sh\r\n"), "build/x: has CRLF line ends"},
		"one in files":                        {files, "files/usr/x", windows("#!/usr/bin/env bash\r\necho\r\n"), "files/usr/x: has CRLF line ends, so that Linux does not find its interpreter; write it with LF"},
		"a text for Windows":                  {files, "files/usr/x", windows("text\r\n"), ""},
		"a script with one in its text":       {files, "files/usr/x", windows("#!/bin/sh\necho 'x\r\n'"), ""},
		"a fifo":                              {files, "files/usr/x", func(name string) error { return syscall.Mkfifo(name, 0o600) }, "files/usr/x: is a special file (p---"},
		"a hard link across":                  {files, "files/usr/x", func(name string) error { return os.Link(outside(name), name) }, "files/usr/x: is a hard link to a file outside of recipes/a/files"},
		"a hard link within":                  {files, "files/usr/x", func(name string) error { return os.Link(filepath.Join(name, "../lib/own"), name) }, ""},
		"a name with a control character":     {files, "files/usr/x\x1b[2J", func(name string) error { return os.WriteFile(name, nil, 0o600) }, `the name "recipes/a/files/usr/x\x1b[2J" has control characters; rename the file`},
		"a link to one":                       {files, "files/usr/x", link("a\nb"), `"a\nb" has control characters`},
		"the definition is a link":            {files, "recipe.yaml", link("/etc/passwd"), `recipes/a/recipe.yaml: is a link to "/etc/passwd"`},
		"the definition is a fifo":            {files, "recipe.yaml", func(name string) error { return syscall.Mkfifo(name, 0o600) }, "is a special file"},
		"the recipe's directory is a link":    {files, ".", link("../.secret-recipe"), `recipes/a:1: is a link`},
		"a key of a signature that leads out": {"sources: [{url: {address: 'https://x.org/x', version: 1, sha256: {all: " + strings.Repeat("0", 64) + "}, signature: {suffix: .asc, openpgp: key}}}]\n", "key", link("/etc/hostname"), `"key" does not exist`},
	} {
		t.Run(what, func(t *testing.T) {
			checkout := t.TempDir()
			dir := filepath.Join(checkout, "recipes/a")
			for name, content := range map[string]string{
				"recipe.yaml": "name: a\nsummary: s\nhomepage: https://example.org\nlicense: MIT\narches: [amd64]\nmax_size: 1 MiB\n" + c.definition,
				own:           "", "conf/deep/own": "", "build/build.sh": "#!/bin/sh\n",
			} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			name := filepath.Join(dir, c.name)
			if err := os.WriteFile(outside(name), []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
			if err := c.make(name); err != nil {
				t.Fatal(err)
			}
			_, mistakes := Load(rooted.Files(checkout), "recipes")
			err := mistakes.Err()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v; wanted %q", err, c.want)
			}
		})
	}
}

// outside is a file beside the checkout of a recipe's file.
func outside(name string) string {
	checkout, _, _ := strings.Cut(name, "/recipes/a")
	return checkout + ".secret"
}
