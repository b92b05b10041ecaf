package testreaders

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

const packagesIndex = `Package: hello
Version: 1.0-1
Architecture: amd64
Maintainer: Nobody <nobody@example.org>
Depends: other (>= 1), third | nothing
Description: says hello
 And more.
Filename: pool/h/hello.deb
Size: 10
SHA256: 1111111111111111111111111111111111111111111111111111111111111111

Package: other
Version: 2:1.0
Architecture: all
Filename: pool/o/other.deb
Size: 20
SHA256: 2222222222222222222222222222222222222222222222222222222222222222

Package: third
Version: 0~1
Architecture: amd64
Filename: pool/t/third.deb
Size: 30
SHA256: 3333333333333333333333333333333333333333333333333333333333333333
`

// aptTags reads stanzas as apt does, and prints what each package is in its highest version.
const aptTags = `python3 - "$1" "$2" <<'END'
import apt_pkg, os, sys
apt_pkg.init_system()
for n in sorted(os.listdir(sys.argv[1])):
    out = os.path.join(sys.argv[2], n)
    try:
        best = {}
        with apt_pkg.TagFile(os.path.join(sys.argv[1], n)) as tags:
            for s in tags:
                if 'Package' not in s or 'Version' not in s: continue
                name, version = s['Package'], s['Version']
                if name not in best or apt_pkg.version_compare(version, best[name]['Version']) > 0:
                    best[name] = {k: s.get(k, '') for k in ('Version', 'Architecture', 'Filename', 'Size', 'SHA256')}
        with open(out + '.said', 'w') as f:
            for name in sorted(best):
                print(name, *best[name].values(), file=f)
    except Exception as e:
        open(out + '.refused', 'w').close()
        open(out + '.said', 'w').write(repr(e))
END`

// indexFormat is of package indexes, of which the packages hello and what it needs are taken.
func indexFormat(*testing.T) format {
	in := input{"index", []byte(packagesIndex)}
	return format{
		sound: []input{in},
		mutants: func(longer int) []input {
			return slices.Concat(followed(in), flipped(in, 200*longer), characters(in, 11, "\n", "\n\n", " ", "\x00", "\r", ":", "#", "\t", "\xff"),
				lines(in, "\n", " \n", "# comment\n", " continued\n", "\tcontinued\n", "X: y\n", "X:y\n", "X :y\n", "X\n", ": y\n", "X:\n", "Package: hello\n", "package: other\n", "VERSION: 3\n", "Version: 3\n", "Version: 3\nversion: 4\n", "Size: 99\n", "size: 99\n", "Filename: x\n", "SHA256: "+strings.Repeat("4", 64)+"\n", "Architecture: all\n", "X: y\r\n", "\r\n", "\n\n\n", "Depends:other\n", "-----BEGIN PGP SIGNED MESSAGE-----\n"))
		},
		ours: func(_ context.Context, file, _ string) ([]string, error) {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			text, err := debian.Reduce(bytes.NewReader(content))
			if err != nil {
				return nil, err
			}
			packages, err := debian.Load("suite", "amd64", []debian.Pocket{{Name: "suite", Text: text}})
			if err != nil {
				return nil, err
			}
			closure, err := packages.Closure(debian.Ask{Want: []string{"hello", "other", "third"}})
			if err != nil {
				return nil, err
			}
			var all []string
			for _, p := range closure.Packages {
				all = append(all, fmt.Sprintf("%s %s %s %s %d %v", p.Name, p.Version, p.Architecture, p.Filename, p.Size, p.SHA256))
			}
			return all, nil
		},
		theirs: []tool{{name: "apt", all: aptTags, read: func(_, text string) []string {
			return slices.DeleteFunc(said("", text), func(line string) bool {
				return !slices.Contains([]string{"hello", "other", "third"}, strings.SplitN(line, " ", 2)[0])
			})
		}}},
	}
}

// versionsFormat is of pairs of versions and their order.
func versionsFormat(*testing.T) format {
	versions := []string{
		"0", "1", "1.0", "1.00", "1.1", "1.10", "1.9", "1~", "1~~", "1~rc1", "1~rc2", "1-1", "1-0", "1-", "1-1~", "1-1-1", "1+b1", "1.0+dfsg-1", "1a", "1b", "1.a", "1.+", "1.-", "0:1", "1:1", "01:1", "1:0", "00001", "1.0a~", "1.0~a", "a", "z", "A", "Z", "1.0.", "1..0", "1_1",
		"99999999999999999999999", "99999999999999999999998", "1.99999999999999999999999", "2:1~bpo12+1", "1.0-1+deb13u2", "1.0-1+deb13u10", "1.0-1+b1", "1.0-1.1", "1.0-1ubuntu1", "20250101", "0.0~git20200101", "1:2:3",
	}
	var all []input
	for _, a := range versions {
		for _, b := range versions {
			all = append(all, input{a + " and " + b, []byte(a + "\n" + b + "\n")})
		}
	}
	return format{
		sound:   all[:2],
		mutants: func(int) []input { return slices.Clone(all) },
		ours: func(_ context.Context, file, _ string) ([]string, error) {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			pair := strings.Split(string(content), "\n")
			if !debian.ValidVersion(pair[0]) || !debian.ValidVersion(pair[1]) {
				return nil, errors.New("no version")
			}
			return []string{fmt.Sprint(cmp.Compare(debian.CompareVersions(pair[0], pair[1]), 0))}, nil
		},
		theirs: []tool{{name: "apt", all: `python3 - "$1" "$2" <<'END'
import apt_pkg, os, sys
apt_pkg.init_system()
for n in os.listdir(sys.argv[1]):
    a, b = open(os.path.join(sys.argv[1], n)).read().split()
    order = apt_pkg.version_compare(a, b)
    open(os.path.join(sys.argv[2], n + '.said'), 'w').write(str((order > 0) - (order < 0)))
END`, read: said}, {name: "dpkg", script: `read -d '' a b <"$1"; if dpkg --compare-versions "$a" lt "$b"; then echo -1; elif dpkg --compare-versions "$a" gt "$b"; then echo 1; else echo 0; fi 2>&1`, read: said}},
	}
}
