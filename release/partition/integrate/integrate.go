// Package integrate makes Flatcar's own scripts leave the OEM images to a release that embeds them.
//
// Two scripts ask for the image of the machine's cloud: flatcar-postinst, which an update runs from the new /usr, downloads it,
// and so does the initramfs after Ignition has run, if it finds none. Each gets a few lines before the statement that asks.
// In: a script of the base. Out: the same with the lines, which an earlier release's replace. A script in which that
// place is not found exactly once is refused: nothing is guessed.
package integrate

import (
	"bytes"
	_ "embed"
	"fmt"
	"regexp"
	"strings"

	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// Env is the variable that turns integration off.
const Env = "INTEGRATE"

// Script is one of Flatcar's scripts.
type Script struct {
	Paths []string // where it may be, relative to /usr or to the root of the initramfs
	sets  []string // variables that the lines use; the script must set them first
	asks  *regexp.Regexp
	Lines string // what is added
}

// image is the embedded image of a cloud, below /usr, with the script's variable for the cloud.
const image = embed.Dir + `/oem-${OEMID}.raw`

// Postinst prepares the machine for the first boot of an update. It runs on the release that is being replaced.
var Postinst = Script{
	Paths: []string{"bin/flatcar-postinst", "sbin/flatcar-postinst"},
	sets:  []string{"INSTALL_MNT", "OEM_MNT", "OEMID"},
	asks:  regexp.MustCompile(`^if .*\$\{?OEMID\b.*/active-oem-.*; then$`),
	Lines: `if [ -e "${INSTALL_MNT}/` + image + `" ]; then
    sh "${INSTALL_MNT}/` + Hook + `" "${OEMID}" "${INSTALL_MNT}" "${OEM_MNT}"
    OEMID=""
fi
`,
}

// AfterIgnition links the OEM image of the machine in the initramfs.
var AfterIgnition = Script{
	Paths: []string{"usr/sbin/initrd-setup-root-after-ignition", "usr/bin/initrd-setup-root-after-ignition", "sbin/initrd-setup-root-after-ignition"},
	sets:  []string{"OEMID"},
	asks:  Postinst.asks,
	Lines: `if [ -e "/sysroot/usr/` + image + `" ] && [ ! -e "/sysroot/oem/sysext/migrate-oem-${OEMID}" ]; then
    OEMID=""
fi
`,
}

// Hook is what the lines in Postinst run, relative to /usr.
const Hook = "lib/flatcar/oem-sysext-postinst"

//go:embed postinst.sh
var hook []byte

// Files are the files for /usr that the lines need.
func Files() []embed.File { return []embed.File{{Path: Hook, Mode: 0o755, Content: hook}} }

// What is around the lines.
const (
	begin = "# oem-sysext: the tools of the clouds that this release embeds come with it.\n"
	end   = "# oem-sysext: end\n"
)

// Edit returns a script with the lines. Its name is for errors.
func (s Script) Edit(name string, script []byte) ([]byte, error) {
	refuse := func(problem string, args ...any) ([]byte, error) {
		return nil, fmt.Errorf("%s: %s; it is in a form that this program does not know; %s=0 leaves Flatcar's scripts alone, "+
			"and machines that Flatcar installed then go on downloading their OEM images", name, fmt.Sprintf(problem, args...), Env)
	}
	if !bytes.HasPrefix(script, []byte("#!/bin/bash\n")) && !bytes.HasPrefix(script, []byte("#!/bin/sh\n")) {
		return refuse("line 1 is %.40q; wanted a shell script", firstLine(script))
	}
	lines := strings.SplitAfter(string(Remove(script)), "\n")
	at := -1
	for i, line := range lines {
		if !s.asks.MatchString(strings.TrimSuffix(line, "\n")) {
			continue
		}
		if at >= 0 {
			return refuse("lines %d and %d ask for the OEM image; wanted one", at+1, i+1)
		}
		at = i
	}
	if at < 0 {
		return refuse("no line asks for the OEM image by its marker active-oem-ID")
	}
	if strings.HasSuffix(lines[at-1], "\\\n") {
		return refuse("line %d goes on in the one that asks for the OEM image", at)
	}
	before := strings.Join(lines[:at], "")
	for _, variable := range s.sets {
		if !regexp.MustCompile(`(?m)^` + variable + `=`).MatchString(before) {
			return refuse("%s is not set before line %d, which asks for the OEM image", variable, at+1)
		}
	}
	return []byte(before + begin + s.Lines + end + strings.Join(lines[at:], "")), nil
}

// Remove returns a script without the lines of an earlier release. They need Files, which the earlier release takes along.
func Remove(script []byte) []byte {
	before, rest, there := bytes.Cut(script, []byte(begin))
	if !there {
		return script
	}
	_, after, there := bytes.Cut(rest, []byte(end))
	if !there {
		return script
	}
	return append(bytes.Clone(before), after...)
}

func firstLine(script []byte) []byte {
	line, _, _ := bytes.Cut(script, []byte("\n"))
	return line
}
