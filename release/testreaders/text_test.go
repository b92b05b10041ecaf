package testreaders

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/format/osrelease"
	"github.com/flatcar/oem-sysext/release/format/sums"
)

// osReleaseFormat is judged by a shell, which is what the format is defined by (os-release(5)).
func osReleaseFormat(*testing.T) format {
	in := input{"os-release", []byte(`NAME="Flatcar Container Linux by Kinvolk"
ID=flatcar
ID_LIKE=coreos
# a comment
VERSION_ID=4593.1.0
PRETTY_NAME='Flatcar $HOME'
ANSI_COLOR="38;5;75"
ESCAPED="a \"b\" \$c \\d \e"
HALF="a"
HOME_URL=https://flatcar.org/
EMPTY=
`)}
	return format{
		sound: []input{in},
		mutants: func(longer int) []input {
			return slices.Concat(followed(in), flipped(in, 200*longer), characters(in, 9, "\"", "'", "\\", "$", "`", "\n", " ", "\t", "=", "#", ";", "\x00", "\r", "é", "~", "*", "{a,b}", "\\\n", "!", "&", "|", "(", "[", "%", "\xff", "\u00a0", "\x1b"),
				lines(in, "\n", " X=y\n", "X=y \n", "\tX=y\n", "X =y\n", "X= y\n", "export X=y\n", "X\n", "=y\n", "X=y z\n", "X=y#z\n", "X=y #z\n", "X=\"y\"z\n", "X=y\"z\"\n", "X='y'\"z\"\n", "X=\"y\n", "X='y\n", "X=y\\\n", "X=\\y\n", "X=\"\\y\"\n", "X='\\y'\n", "X=\"\\\n\"\n", "X=$Y\n", "X=\"$Y\"\n", "X=${ID}\n", "X=$(echo y)\n", "X=`echo y`\n", "X=~\n", "X=~/y\n", "X=a:~\n", "X=*\n", "X=?\n", "X={y,z}\n", "X=y;Z=1\n", "X=y&\n", "X+=y\n", "X[0]=y\n", "1X=y\n", "X-Y=z\n", "X.Y=z\n", "ID=other\n", "x=y\n", "_=y\n", "X==y\n", "X=y=z\n", "X=\"a\tb\"\n", "X=é\n", "é=x\n", "X=\"\xff\"\n", "X=!y\n", "X=%y\n", "X=y!\n", "X=[y]\n", "X=#y\n", "X=\"#y\"\n", "X='a'b\n", "X=\\\"y\\\"\n", "X=\"\\\\\"\n", "X=\"\\`\"\n", "X=a\\ b\n", "X=\"a\\nb\"\n", "X=''\n", "X=\"\"\n", "X='''\n", "X=a'\n", "readonly X=y\n", "X=y\r\n", ":\n", "true\n"))
		},
		kept: []string{`os-release: "X=~\n" at byte 42`, `os-release: "X=a:~\n" at byte 53`, `os-release: "_=y\n" at byte 42`},
		ours: func(_ context.Context, file, _ string) ([]string, error) {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			values, err := osrelease.Parse(content)
			var all []string
			for name, value := range values {
				all = append(all, fmt.Sprintf("%s=%q", name, value))
			}
			slices.Sort(all)
			return all, err
		},
		theirs: []tool{shell("bash", "bash --posix"), shell("dash", "dash")},
	}
}

// shell sources a file and prints the variables that are then set.
func shell(name, command string) tool {
	return tool{
		name:   name,
		script: `env -i LC_ALL=C.UTF-8 /usr/bin/` + command + ` -c 'set -ea; . "$1" >&2; /usr/bin/env -0' x "$1"`,
		read: func(_, said string) (all []string) {
			for line := range strings.SplitSeq(strings.TrimSuffix(said, "\x00"), "\x00") {
				key, value, _ := strings.Cut(line, "=")
				if !slices.Contains([]string{"PWD", "OLDPWD", "SHLVL", "_", "LC_ALL"}, key) {
					all = append(all, fmt.Sprintf("%s=%q", key, value))
				}
			}
			slices.Sort(all)
			return all
		},
	}
}

// sumsScript checks sums of the files a and b of the working directory.
const sumsScript = `printf hello >a; printf 'hello, hello\n' >b; `

func sumsSoundInput() input {
	return input{"sha256sum", fmt.Appendf(nil, "%v  a\n%v  b\n", digest.Of([]byte("hello")), digest.Of([]byte("hello, hello\n")))}
}

func sumsMutants(in input, longer int) []input {
	a := string(in.content[:64])
	return slices.Concat(followed(in), flipped(in, 150*longer), characters(in, 5, " ", "\n", "\\", "*", "\t", "\r", "\x00", "a", "/", "-", "(", "#"),
		lines(in, "\n", a+"  a\n", a+" *a\n", a+"  ./a\n", a+"  b\n", "\\"+a+"  a\n", a+"   a\n", a+" a\n", a+"\ta\n", strings.ToUpper(a)+"  a\n", "SHA256 (a) = "+a+"\n", "SHA256(a)= "+a+"\n", a+"  \n", a+"\n", "  a\n", a[1:]+"  a\n", a+"0  a\n", "# comment\n", a+"  a\r\n", " "+a+"  a\n", a+"  a \n", a+"  SHA256SUMS\n", strings.Repeat("0", 64)+"  a\n", "SHA512 (a) = "+a+a+"\n", a+a+"  a\n", a[:32]+"  a\n", a+"  a\\nb\n"))
}

// sumsFormat is of our own lists, which we read strictly.
func sumsFormat(*testing.T) format {
	in := sumsSoundInput()
	return format{
		sound:   []input{in},
		mutants: func(longer int) []input { return sumsMutants(in, longer) },
		ours: func(_ context.Context, file, _ string) ([]string, error) {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			all, err := sums.Parse(content)
			if err != nil {
				return nil, err
			}
			var lines []string
			for name, sum := range all {
				text, there := map[string]string{"a": "hello", "b": "hello, hello\n"}[name]
				if !there || digest.Of([]byte(text)) != sum {
					return nil, fmt.Errorf("%s has another sum", name)
				}
				lines = append(lines, name+": OK")
			}
			slices.Sort(lines)
			return lines, nil
		},
		theirs: []tool{{name: "sha256sum", script: sumsScript + `sha256sum --strict -c "$1" 2>/dev/null`, read: func(_, text string) []string {
			lines := said("", text)
			slices.Sort(lines)
			return lines
		}}},
	}
}

// foreignSumsFormat is of other people's lists, in which we look for one file.
func foreignSumsFormat(*testing.T) format {
	in := sumsSoundInput()
	return format{
		sound:   []input{in},
		mutants: func(longer int) []input { return sumsMutants(in, longer) },
		kept:    []string{`sha256sum: "0000000000000000000000000000000000000000000000000000000000000000  a\n" at byte 0`, `sha256sum: "*" put in at byte 65`},
		ours: func(_ context.Context, file, _ string) ([]string, error) {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			sum, err := sums.Find(bytes.NewReader(content), "a")
			if err == nil && sum != digest.Of([]byte("hello")) {
				err = errors.New("another sum")
			}
			return []string{"a: OK"}, err
		},
		theirs: []tool{{name: "sha256sum", script: sumsScript + `sha256sum -c "$1" 2>/dev/null | grep -a '^a: ' | sort -u`, read: said}},
	}
}
