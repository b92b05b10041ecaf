package testreaders

import (
	stdcmp "cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
)

// format is a format with its readers.
type format struct {
	sound   []input                  // every reader takes them and reads the same
	mutants func(longer int) []input // the same each time; longer is how many times as many random ones are wanted
	ours    func(ctx context.Context, file, dir string) ([]string, error)
	theirs  []tool
	kept    []string // mutants that a short run has, too: once we took them
}

// few is how many mutants of a format a short run has, besides those that are kept.
const few = 200

// formats are all that is compared.
var formats = map[string]func(t *testing.T) format{
	"tar":                tarFormat,
	"zip":                zipFormat,
	"cpio":               cpioFormat,
	"deb":                debFormat,
	"gzip":               compressedFormat("gzip", "\x1f\x8b", "-n", "-9"),
	"xz":                 compressedFormat("xz", "\xfd7zXZ\x00", "-1", "--check=crc32", "--check=sha256", "--check=none"),
	"zstd":               compressedFormat("zstd", "\x28\xb5\x2f\xfd", "-q", "-q --no-check"),
	"gpt":                gptFormat,
	"gpt without damage": wholeGPTFormat,
	"verity":             verityFormat,
	"os-release":         osReleaseFormat,
	"sums":               sumsFormat,
	"sums of others":     foreignSumsFormat,
	"OpenPGP":            openPGPFormat,
	"minisign":           minisignFormat,
	"index":              indexFormat,
	"versions":           versionsFormat,
	"ELF":                elfFormat,
	"bzip2":              compressedFormat("bzip2", "BZh", "-9"),
}

// TestReaders compares a part of the mutants, which are others for each format but always the same.
func TestReaders(t *testing.T) {
	for name, make := range formats {
		t.Run(name, func(t *testing.T) { compare(t, make(t), false) })
	}
}

// choose returns the mutants of a short run.
func (f format) choose(all []input) []input {
	random := rand.New(rand.NewPCG(seed, 0))
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	chosen := all[:min(len(all), few)]
	for _, in := range all[len(chosen):] {
		if slices.Contains(f.kept, in.name) {
			chosen = append(chosen, in)
		}
	}
	return chosen
}

// input is a file. The name says what was changed.
type input struct {
	name    string
	content []byte
}

// tool is a program that reads the format.
type tool struct {
	name    string
	prepare string                           // shell, before all inputs
	script  string                           // shell: reads the file "$1"; the working directory is empty. Its status tells whether the file is refused
	all     string                           // instead of script: reads all files of the directory "$1", writes to "$2"/NAME, and creates "$2"/NAME.refused
	read    func(dir, said string) []string  // what was read, from the working directory or from what was printed. Nil: the files of the directory
	seen    func(line string) (string, bool) // what of a line of ours this tool can tell; false: nothing. Nil: all
	excuse  map[string]string                // mutants that the tool reads wrongly, by regular expression, with a reason
}

// reading is what a tool made of one file.
type reading struct {
	lines   []string
	refused bool
	said    string
}

// compare fails the test for each mutant that we read otherwise than the tools: of all, or of a part.
func compare(t *testing.T, f format, all bool) {
	t.Helper()
	longer := 1
	if all {
		longer = 3
	}
	mutants := unique(f.mutants(longer))
	for _, name := range f.kept {
		if !slices.ContainsFunc(mutants, func(in input) bool { return in.name == name }) {
			t.Errorf("there is no mutant %q", name)
		}
	}
	if !all {
		mutants = f.choose(mutants)
	}
	inputs := slices.Concat(f.sound, mutants)
	ours, theirs := readAll(t, f, inputs)
	taken := 0
	for i, r := range ours {
		if !r.refused {
			taken++
		} else if i < len(f.sound) {
			t.Fatalf("%s, which is sound: %s", inputs[i].name, r.said)
		}
	}
	t.Logf("%d sound inputs and %d mutants, of which we take %d", len(f.sound), len(mutants), taken-len(f.sound))
	for i, tool := range f.theirs {
		tool.judge(t, inputs, judged{len(f.sound), all}, ours, theirs[i])
	}
}

// readAll lets all readers read all inputs, of which only some are on the disk at a time.
func readAll(t *testing.T, f format, inputs []input) (ours []reading, theirs [][]reading) {
	t.Helper()
	const atOnce = 100
	tools, dir := toolroottest.Judges(t), t.TempDir()
	ours, theirs = make([]reading, len(inputs)), make([][]reading, len(f.theirs))
	for i := range theirs {
		theirs[i] = make([]reading, len(inputs))
	}
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(runtime.NumCPU())
	for from := 0; from < len(inputs); from += atOnce {
		group.Go(func() error {
			part := inputs[from:min(from+atOnce, len(inputs))]
			work := filepath.Join(dir, fmt.Sprint(from))
			if err := os.MkdirAll(filepath.Join(work, "in"), 0o755); err != nil {
				return err
			}
			defer os.RemoveAll(work)
			for i, in := range part {
				file := filepath.Join(work, "in", number(i))
				if err := os.WriteFile(file, in.content, 0o644); err != nil {
					return err
				}
				ours[from+i] = f.readOurs(ctx, file, filepath.Join(work, "ours"))
			}
			for i, tool := range f.theirs {
				readings, err := tool.run(ctx, tools, work, len(part))
				if err != nil {
					return err
				}
				copy(theirs[i][from:], readings)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// readOurs lets our reader read a file, with an empty directory to write to.
func (f format) readOurs(ctx context.Context, file, dir string) reading {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return reading{refused: true, said: err.Error()}
	}
	defer os.RemoveAll(dir)
	lines, err := f.ours(ctx, file, dir)
	return reading{lines: lines, refused: err != nil, said: fmt.Sprint(err)}
}

// most is how many findings of a tool are printed.
var most, _ = strconv.Atoi(stdcmp.Or(os.Getenv("FINDINGS"), "25"))

// judged says which of the inputs are sound, the first ones, and whether all mutants are among them.
type judged struct {
	sound int
	all   bool
}

// judge compares all readings of a tool with ours.
func (tool tool) judge(t *testing.T, inputs []input, of judged, ours, theirs []reading) {
	t.Helper()
	findings, excused, refused, told := 0, map[string]int{}, 0, false
	for i, in := range inputs {
		if theirs[i].refused {
			refused++
		}
		found := tool.differs(ours[i], theirs[i])
		if i >= of.sound {
			// A reader that takes everything for the first sound input must be found.
			told = told || tool.differs(ours[0], theirs[i]) != ""
		}
		if found == "" {
			continue
		}
		if reason := tool.excused(in.name); i >= of.sound && reason != "" {
			excused[reason]++
			continue
		}
		if findings++; findings <= most {
			t.Errorf("%s, %s: we take it, but %s", tool.name, in.name, found)
		}
	}
	if findings > most {
		t.Errorf("%s: and %d more", tool.name, findings-most)
	}
	if !told {
		t.Errorf("%s tells no mutant from a sound input, so the comparison sees nothing", tool.name)
	}
	for pattern, reason := range tool.excuse {
		if of.all && excused[reason] == 0 {
			t.Errorf("%s is not wrong about any %q any more; remove the excuse: %s", tool.name, pattern, reason)
		}
	}
	t.Logf("%s refuses %d of %d; %d findings; excused %v", tool.name, refused, len(inputs), findings, excused)
}

// differs says in what we read otherwise than the tool; empty if in nothing, or if we refuse.
func (tool tool) differs(ours, theirs reading) string {
	if ours.refused {
		return ""
	}
	if theirs.refused {
		return "it is refused: " + strings.TrimSpace(theirs.said)
	}
	var lines []string
	for _, line := range ours.lines {
		if tool.seen != nil {
			var seen bool
			if line, seen = tool.seen(line); !seen {
				continue
			}
		}
		lines = append(lines, line)
	}
	if diff := cmp.Diff(lines, timeless(lines, theirs.lines)); diff != "" {
		return fmt.Sprintf("the reading differs (-ours +theirs), and it says %q:\n%s", theirs.said, diff)
	}
	return ""
}

// timeless is what a tool read, with our times where it set none: directories that have no entry, or get files after theirs, and links.
func timeless(ours, theirs []string) []string {
	theirs = slices.Clone(theirs)
	for i, line := range theirs {
		if before, after, found := strings.Cut(line, " now"); found && i < len(ours) {
			if strings.HasPrefix(ours[i], before+" ") && strings.HasSuffix(ours[i], after) && untimed.MatchString(line) {
				theirs[i] = ours[i]
			}
		}
	}
	return theirs
}

var untimed = regexp.MustCompile(`^"[^"]*" [dL]`)

func (tool tool) excused(name string) string {
	for pattern, reason := range tool.excuse {
		if regexp.MustCompile(pattern).MatchString(name) {
			return reason
		}
	}
	return ""
}

// run gives the inputs to a tool, all in one sandbox.
func (tool tool) run(ctx context.Context, tools *toolroot.Root, dir string, count int) ([]reading, error) {
	out := filepath.Join(dir, tool.name)
	if err := os.Mkdir(out, 0o755); err != nil {
		return nil, err
	}
	defer os.RemoveAll(out)
	for i := range count {
		if err := os.Mkdir(filepath.Join(out, number(i)), 0o755); err != nil {
			return nil, err
		}
	}
	script := tool.all
	if script == "" {
		script = `for input in "$1"/*; do
	n=${input##*/}
	cd "$2/$n" || exit
	(set -- "$input"; ` + tool.script + `) >"../$n.said" 2>&1 </dev/null || echo $? >"../$n.refused"
done`
	}
	const limits = "umask 022; ulimit -t 60; ulimit -f 262144; " // what is unpacked has at most 128 MiB
	err := tools.Run(ctx, toolroot.Cmd{
		Program: "bash", Args: []string{"-c", limits + tool.prepare + "\n" + script, "bash", filepath.Join(dir, "in"), out},
		Read: []string{filepath.Join(dir, "in")}, Write: []string{out}, Owners: true,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", tool.name, err)
	}
	readings := make([]reading, count)
	for i := range readings {
		said, err := os.ReadFile(filepath.Join(out, number(i)+".said"))
		if err != nil && tool.all == "" {
			return nil, err
		}
		_, missing := os.Stat(filepath.Join(out, number(i)+".refused"))
		r := reading{refused: missing == nil, said: string(said[:min(len(said), 2000)])}
		if !r.refused && tool.read != nil {
			r.lines = tool.read(filepath.Join(out, number(i)), string(said))
		} else if !r.refused {
			r.lines = listing(filepath.Join(out, number(i)))
		}
		readings[i] = r
	}
	return readings, nil
}

// script runs a shell script in a directory of the tool root's sandbox, to make a sound input, and returns that: the file "out".
func script(t *testing.T, text string, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	err := toolroottest.Judges(t).Run(t.Context(), toolroot.Cmd{
		Program: "bash", Args: append([]string{"-euc", "umask 022; cd " + dir + "; " + text, "bash"}, args...), Write: []string{dir}, Owners: true,
		Env: []string{"SOURCE_DATE_EPOCH=1700000000", "HOME=/tmp"},
	})
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func number(i int) string { return fmt.Sprintf("%05d", i) }
