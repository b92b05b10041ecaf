package vm

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

//go:embed ask.sh
var askScript string

//go:embed update.sh
var updateScript string

// Question is what a booted system is asked beyond what it always says.
type Question struct {
	Units []string // that it has, maybe
	Paths []string // absolute ones, of which it may have some
	Files []string // absolute paths; those that are ELF files are to be resolved by the dynamic linker

	Commands []string // lines for sh, run last, since they may change the machine

	// Refreshes is how often what is merged is refreshed before, in tens, and 0 mostly. The first of the files is of an extension,
	// the last one of the base.
	Refreshes int

	Foreign []Foreign // images that are tried before
	Update  bool      // what an update runs is run before, from slot B
}

// Report is what a booted system says about itself.
type Report struct {
	State      string            `json:"state"`      // of the service manager: running, degraded
	MultiUser  string            `json:"multi_user"` // whether multi-user.target is active
	Failed     []string          `json:"failed"`     // units
	Usr        string            `json:"usr"`        // the device that /usr is on
	Verity     string            `json:"verity"`     // verified, corrupted
	Merged     []string          `json:"merged"`     // extension images, in the order of their names
	Extensions []string          `json:"extensions"` // files in /usr/lib/extension-release.d
	Backing    []string          `json:"backing"`    // files behind loop devices, embedded ones below /run/oem/images
	Own        map[string]string `json:"own"`        // images that the base brings, by name; not in the lists above
	Linked     string            `json:"linked"`     // what the release says of its choice of images
	Classic    string            `json:"classic"`    // what Flatcar's own step in the initramfs says of the machine's image
	Virt       string            `json:"virt"`       // what systemd-detect-virt prints
	DMI        map[string]string `json:"dmi"`        // files of /sys/class/dmi/id
	OSRelease  map[string]string `json:"os_release"`
	Units      map[string]string `json:"units"`      // those asked for, each with its state
	There      []string          `json:"there"`      // those of the paths asked for that there are
	Programs   int               `json:"programs"`   // how many of the files asked for are ELF files
	Unresolved []string          `json:"unresolved"` // what the dynamic linker does not find, as PROGRAM: LIBRARY => not found
	Ran        []Ran             `json:"ran"`        // the commands, in their order
	Seconds    float64           `json:"seconds"`    // since the kernel started
	Soak       *Soak             `json:"soak"`       // when it was asked for
	Foreign    []Attempt         `json:"foreign"`    // in the order of the question
	Update     *Update           `json:"update"`     // when it was asked for
}

// Ran is what a command did.
type Ran struct {
	Status int    `json:"status"`
	Said   string `json:"said"` // the first 64 KiB of its output
}

// Update is what the program that an update runs has said.
type Update struct {
	Status int    `json:"status"`
	Said   string `json:"said"`
}

// Boot boots the machine and asks it.
func Boot(ctx context.Context, m Machine, q Question) (Report, error) {
	m.Files = map[string]string{"units": lines(q.Units), "paths": lines(q.Paths), "files": lines(q.Files), "commands": lines(q.Commands)}
	m.Script = ""
	if q.Refreshes > 0 {
		m.Script += soakScript
		m.Files["refreshes"] = strconv.Itoa(q.Refreshes) + "\n"
	}
	if len(q.Foreign) > 0 {
		m.Script += foreignScript
		for _, image := range q.Foreign {
			m.Files["foreign"] += image.Name + " " + image.Policy + "\n"
			m.Files[image.Name+".raw"] = string(image.Content)
		}
	}
	if q.Update {
		m.Script += updateScript
	}
	m.Script += askScript
	content, err := Run(ctx, m)
	if err != nil {
		return Report{}, err
	}
	var report Report
	err = json.Unmarshal(content, &report)
	report.leaveOutOwn()
	return report, err
}

// leaveOutOwn removes what the base itself brings from the lists of images: Flatcar's machines merge docker and containerd, too.
func (r *Report) leaveOutOwn() {
	belowUsr := func(file string) string { return strings.TrimPrefix(file, "/usr") }
	files := map[string]bool{}
	for _, file := range r.Own {
		files[belowUsr(file)] = true
	}
	isOwn := func(name string) bool { _, own := r.Own[name]; return own }
	r.Merged = slices.DeleteFunc(r.Merged, isOwn)
	r.Extensions = slices.DeleteFunc(r.Extensions, func(file string) bool { return isOwn(strings.TrimPrefix(file, "extension-release.")) })
	r.Backing = slices.DeleteFunc(r.Backing, func(file string) bool { return files[belowUsr(file)] })
	for i := range r.Foreign {
		r.Foreign[i].Merged = slices.DeleteFunc(r.Foreign[i].Merged, isOwn)
	}
}

func lines(list []string) string {
	var text strings.Builder
	for _, line := range list {
		text.WriteString(line + "\n")
	}
	return text.String()
}

// Check returns everything that is not as it is in a sound system of this version with these images merged.
func (r Report) Check(versionID string, merged []string) error {
	var errs []error
	expect := func(what, got, wanted string) {
		if got != wanted {
			errs = append(errs, fmt.Errorf("%s is %q; wanted %q", what, got, wanted))
		}
	}
	expect("the system", r.State, "running")
	expect("multi-user.target", r.MultiUser, "active")
	expect("the device of /usr", r.Usr, "/dev/mapper/usr")
	expect("verity", r.Verity, "verified")
	expect("ID", r.OSRelease["ID"], "flatcar")
	expect("VERSION_ID", r.OSRelease["VERSION_ID"], versionID)
	if len(r.Failed) > 0 {
		errs = append(errs, fmt.Errorf("failed units: %v", r.Failed))
	}
	if !slices.Equal(r.Merged, merged) {
		errs = append(errs, fmt.Errorf("merged images are %v; wanted %v", r.Merged, merged))
	}
	return errors.Join(errs...)
}
