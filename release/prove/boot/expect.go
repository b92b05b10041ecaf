package boot

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/plan/compose"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// Expectation is what a release promises of a machine in one cloud.
type Expectation struct {
	VersionID string
	Reason    string            // for which the platform is chosen, in the words of the release
	Images    []string          // that are merged, and no other ones but the base's own
	Lying     map[string]string // where images lie that are not called like their file, by name, below /usr
	Flattened []string          // names of extensions whose files are part of /usr
	Units     []string          // that are active
	Requires  []string          // absolute paths that are there
	Files     []string          // absolute paths of the images' files
	Foreign   []string          // absolute paths that only other platforms' images have
	Failed    []string          // units that fail, since they were made to
	Works     []platform.Work   // commands that work
	Alias     map[string]string // names by which images are merged, where that is not their own
}

// Question is what a machine is asked for the expectation.
func (e Expectation) Question() vm.Question {
	return vm.Question{Units: e.Units, Paths: slices.Concat(e.Requires, e.Foreign), Files: append(slices.Clip(e.Files), SomeProgram), Commands: e.commands()}
}

// SomeProgram is one that every base has: where it is not found among the programs, looking for programs does not work.
const SomeProgram = "/usr/lib/systemd/systemd"

// assertions are all that is asserted of a machine. That a service succeeded is none: systemd-sysext does so
// when it has skipped an image. What is merged, from which file, and what it brings says more.
var assertions = []struct {
	name  string
	check func(Expectation, vm.Report) error
}{
	{"the system is up", func(e Expectation, r vm.Report) error {
		state := "running"
		if len(e.Failed) > 0 {
			state = "degraded"
		}
		return Joined(Differ("the system", r.State, state), Differ("multi-user.target", r.MultiUser, "active"))
	}},
	{"no unit failed", func(e Expectation, r vm.Report) error { return SameSet("failed units", r.Failed, e.Failed) }},
	{"/usr is verified", func(_ Expectation, r vm.Report) error {
		return Joined(Differ("the device of /usr", r.Usr, "/dev/mapper/usr"), Differ("dm-verity", r.Verity, "verified"))
	}},
	{"the release is the one that was installed", func(e Expectation, r vm.Report) error {
		return Joined(Differ("ID", r.OSRelease["ID"], "flatcar"), Differ("VERSION_ID", r.OSRelease["VERSION_ID"], e.VersionID))
	}},
	{"the platform is chosen for the right reason", func(e Expectation, r vm.Report) error {
		if !strings.Contains(r.Linked, e.Reason) {
			return fmt.Errorf("the release says %q; wanted something with %q", r.Linked, e.Reason)
		}
		return nil
	}},
	{"exactly the platform's images are merged", func(e Expectation, r vm.Report) error {
		return Joined(SameSet("merged images", r.Merged, e.merged()), SameSet("extension-release files", r.Extensions, prefixed("extension-release.", slices.Concat(e.Images, e.Flattened))))
	}},
	{"they are the embedded ones", func(e Expectation, r vm.Report) error {
		var files, backing []string
		for _, image := range e.Images {
			file := embed.Dir + "/" + image + ".raw"
			if lies, differs := e.Lying[image]; differs {
				file = lies
			}
			files = append(files, "/"+file)
		}
		// The kernel names them from the root of a mount that the merged /usr may hide.
		paths := strings.NewReplacer(activate.Images+"/", "/"+embed.Dir+"/", "/usr/"+embed.Dir+"/", "/"+embed.Dir+"/")
		for _, file := range r.Backing {
			backing = append(backing, paths.Replace(file))
		}
		return SameSet("files behind loop devices", backing, files)
	}},
	{"os-release names what is part of /usr", func(e Expectation, r vm.Report) error {
		var names []string
		for extension := range strings.FieldsSeq(r.OSRelease[compose.FlattenedKey]) {
			name, _, _ := strings.Cut(extension, "_")
			names = append(names, name)
		}
		return SameSet("flattened extensions", names, e.Flattened)
	}},
	{"required paths are there", func(e Expectation, r vm.Report) error {
		return SameSet("required paths that are missing", without(e.Requires, r.There), nil)
	}},
	{"no other platform's files are there", func(e Expectation, r vm.Report) error {
		return SameSet("files of other platforms", without(e.Foreign, without(e.Foreign, r.There)), nil)
	}},
	{"the platform's units are active", func(e Expectation, r vm.Report) error {
		var errs []error
		for _, unit := range e.Units {
			errs = append(errs, Differ(unit, r.Units[unit], "active"))
		}
		return Joined(errs...)
	}},
	{"commands of the platform's operators work", func(e Expectation, r vm.Report) error {
		if err := Differ("the number of commands that ran", strconv.Itoa(len(r.Ran)), strconv.Itoa(len(e.Works))); err != nil {
			return err
		}
		var errs []error
		for i, work := range e.Works {
			if failure := check.Verdict(r.Ran[i].Status, r.Ran[i].Said, work.Says); failure != "" {
				errs = append(errs, fmt.Errorf("%s:%d: %q: %s", work.File, work.Line, work.Run, failure))
			}
		}
		return Joined(errs...)
	}},
	{"programs find their libraries", func(_ Expectation, r vm.Report) error {
		if r.Programs == 0 {
			return fmt.Errorf("no program was looked at, not even %s", SomeProgram)
		}
		return SameSet("unresolved libraries", r.Unresolved, nil)
	}},
}

func (e Expectation) commands() []string {
	lines := make([]string, len(e.Works))
	for i, work := range e.Works {
		lines[i] = string(work.Run)
	}
	return lines
}

// merged are the names by which images are merged.
func (e Expectation) merged() []string {
	names := make([]string, len(e.Images))
	for i, image := range e.Images {
		names[i] = cmp.Or(e.Alias[image], image)
	}
	return names
}

// Check compares a machine with what is promised of it. The outcomes are in the same order always.
func (e Expectation) Check(r vm.Report) []proof.Outcome {
	outcomes := make([]proof.Outcome, len(assertions))
	for i, assertion := range assertions {
		outcomes[i] = proof.Assert(assertion.name, assertion.check(e, r))
	}
	return outcomes
}

// Joined returns all errors in one line.
func Joined(errs ...error) error {
	var texts []string
	for _, err := range errs {
		if err != nil {
			texts = append(texts, err.Error())
		}
	}
	if texts == nil {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(texts, "; "))
}

// Differ is the error of a thing that is not as wanted.
func Differ(what, got, want string) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("%s is %q; wanted %q", what, got, want)
}

// SameSet compares without regard to order.
func SameSet(what string, got, want []string) error {
	if extra, missing := without(got, want), without(want, got); len(extra)+len(missing) > 0 {
		return fmt.Errorf("%s: %s", what, strings.Join(slices.Concat(prefixed("not wanted: ", extra), prefixed("missing: ", missing)), ", "))
	}
	return nil
}

// without returns those that are not among the others.
func without(list, others []string) []string {
	known := map[string]bool{}
	for _, other := range others {
		known[other] = true
	}
	var rest []string
	for _, entry := range list {
		if !known[entry] {
			rest = append(rest, entry)
		}
	}
	return rest
}

func prefixed(prefix string, list []string) []string {
	all := make([]string, len(list))
	for i, entry := range list {
		all[i] = prefix + entry
	}
	return all
}
