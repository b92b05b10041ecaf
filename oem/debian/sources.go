package debian

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Sources says where a Debian archive is and who signs it.
type Sources struct {
	Main     string // address of the archive; dists/ and pool/ are below it
	Security string // address of the security archive
	Keyring  string // path of a file with the OpenPGP keys that may sign, binary or armored
	// AllowExpired accepts indexes past their Valid-Until, as mirrors that are kept at a date need.
	// An attacker on the way may then hold back updates, but not serve anything older than was seen before.
	AllowExpired bool
}

// Environment variables that override the host's apt configuration.
const (
	EnvMain         = "DEBIAN_MIRROR"            // address of the archive
	EnvSecurity     = "DEBIAN_SECURITY_MIRROR"   // address of the security archive
	EnvKeyring      = "DEBIAN_KEYRING"           // path of the keyring
	EnvAllowExpired = "DEBIAN_CHECK_VALID_UNTIL" // "no" accepts expired indexes
)

// debianSuites are the names that tell a source of Debian from one of another vendor.
// A name that is missing costs a host of that suite setting the variables above.
var debianSuites = []string{
	"bullseye", "bookworm", "trixie", "forky", "duke", "sid",
	"oldoldstable", "oldstable", "stable", "testing", "unstable",
}

// Keyrings of the package debian-archive-keyring; the second name is the one of Debian 13 and later.
var defaultKeyrings = []string{
	"/usr/share/keyrings/debian-archive-keyring.gpg",
	"/usr/share/keyrings/debian-archive-keyring.pgp",
}

// HostSources reads the apt configuration below dir, usually /etc/apt (sources.list(5)), and the variables above
// through getenv, usually os.Getenv.
//
// Of all sources there, that of the Debian archive is the first that has the component main of a Debian suite,
// whose address ends in /debian, and that is not signed by another vendor; the security archive's
// address ends in /debian-security.
func HostSources(dir string, getenv func(string) string) (Sources, error) {
	entries, err := aptSources(dir)
	if err != nil {
		return Sources{}, err
	}
	found := pick(entries)
	if notChecked, err := validUntilUnchecked(dir); err != nil {
		return Sources{}, err
	} else if notChecked || getenv(EnvAllowExpired) == "no" {
		found.AllowExpired = true
	}
	found.Main = strings.TrimSuffix(firstSet(getenv(EnvMain), found.Main), "/")
	found.Security = strings.TrimSuffix(firstSet(getenv(EnvSecurity), found.Security), "/")
	found.Keyring = firstSet(getenv(EnvKeyring), found.Keyring, firstFile(defaultKeyrings))
	return found, found.check(dir)
}

// check names what is missing and how to give it.
func (s Sources) check(dir string) error {
	var missing []error
	if s.Main == "" {
		missing = append(missing, fmt.Errorf("no source of the Debian archive in %s: set %s to an address such as http://deb.example.org/debian", dir, EnvMain))
	}
	if s.Security == "" {
		missing = append(missing, fmt.Errorf("no source of the Debian security archive in %s: set %s to an address such as http://deb.example.org/debian-security", dir, EnvSecurity))
	}
	if s.Keyring == "" {
		missing = append(missing, fmt.Errorf("no Debian keyring: install debian-archive-keyring or set %s to a file with the archive's OpenPGP keys", EnvKeyring))
	}
	return errors.Join(missing...)
}

// aptSource is one address of an apt source.
type aptSource struct {
	uri        string
	suites     []string
	components []string
	signedBy   string // path of a keyring, or empty
	expired    bool   // Check-Valid-Until is off
}

// isFor tells whether the source is that of Debian's archive whose address ends in /base.
func (s aptSource) isFor(base string) bool {
	if path.Base(strings.TrimSuffix(s.uri, "/")) != base || !slices.ContainsFunc(s.suites, isDebianSuite) {
		return false
	}
	if !slices.Contains(s.components, "main") && !slices.Contains(s.components, "updates/main") {
		return false
	}
	return s.signedBy == "" || strings.HasPrefix(path.Base(s.signedBy), "debian-archive-")
}

// isDebianSuite takes "bookworm", and "bookworm-updates" and "bookworm/updates" as well.
func isDebianSuite(suite string) bool {
	name, _ := cutAtAny(suite, "-/")
	return slices.Contains(debianSuites, name)
}

// pick finds the two archives. The main archive's settings count for both.
func pick(entries []aptSource) Sources {
	var found Sources
	if i := slices.IndexFunc(entries, func(s aptSource) bool { return s.isFor("debian") }); i >= 0 {
		found = Sources{Main: entries[i].uri, Keyring: entries[i].signedBy, AllowExpired: entries[i].expired}
	}
	if i := slices.IndexFunc(entries, func(s aptSource) bool { return s.isFor("debian-security") }); i >= 0 {
		found.Security = entries[i].uri
	}
	return found
}

// aptSources reads sources.list and then sources.list.d, in the order that apt does.
func aptSources(dir string) ([]aptSource, error) {
	paths := []string{filepath.Join(dir, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		matches, err := filepath.Glob(filepath.Join(dir, "sources.list.d", pattern))
		if err != nil {
			return nil, err
		}
		paths = append(paths, matches...)
	}
	slices.Sort(paths[1:])
	var all []aptSource
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		parse := parseOneLine
		if strings.HasSuffix(path, ".sources") {
			parse = parseDeb822Sources
		}
		found, err := parse(string(content))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, found...)
	}
	return expandMirrorFiles(all)
}

// parseDeb822Sources reads a .sources file (sources.list(5), DEB822-STYLE FORMAT).
func parseDeb822Sources(text string) ([]aptSource, error) {
	stanzas, err := readStanzas(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	var found []aptSource
	for _, st := range stanzas {
		if isNo(st["enabled"]) || !slices.Contains(strings.Fields(st["types"]), "deb") {
			continue
		}
		for _, uri := range strings.Fields(st["uris"]) {
			found = append(found, aptSource{
				uri:        uri,
				suites:     strings.Fields(st["suites"]),
				components: strings.Fields(st["components"]),
				signedBy:   keyringPath(st["signed-by"]),
				expired:    isNo(st["check-valid-until"]),
			})
		}
	}
	return found, nil
}

// oneLine is "deb [options] uri suite component...".
var oneLine = regexp.MustCompile(`^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)`)

// parseOneLine reads a .list file (sources.list(5), ONE-LINE-STYLE FORMAT). Other lines are not for us.
func parseOneLine(text string) ([]aptSource, error) {
	var found []aptSource
	for line := range strings.Lines(text) {
		m := oneLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		source := aptSource{uri: m[2], suites: []string{m[3]}, components: strings.Fields(m[4])}
		for option := range strings.FieldsSeq(m[1]) {
			name, value, _ := strings.Cut(option, "=")
			switch strings.ToLower(name) {
			case "signed-by":
				source.signedBy = keyringPath(value)
			case "check-valid-until":
				source.expired = isNo(value)
			}
		}
		found = append(found, source)
	}
	return found, nil
}

// expandMirrorFiles replaces "mirror+file:/path", which images for clouds use, by the first address in that file.
func expandMirrorFiles(sources []aptSource) ([]aptSource, error) {
	for i, source := range sources {
		list, isList := strings.CutPrefix(source.uri, "mirror+file:")
		if !isList {
			continue
		}
		content, err := os.ReadFile(path.Clean("/" + list))
		if errors.Is(err, fs.ErrNotExist) {
			continue // apt itself would say so
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(content)) {
			if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
				sources[i].uri = words[0]
				break
			}
		}
	}
	return sources, nil
}

// keyringPath returns the first path in a Signed-By, which may also hold fingerprints or whole keys.
func keyringPath(signedBy string) string {
	for word := range strings.FieldsFuncSeq(signedBy, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' }) {
		if path.IsAbs(word) {
			return word
		}
	}
	return ""
}

// checkOff finds the setting Acquire::Check-Valid-Until "false" (apt.conf(5)).
var checkOff = regexp.MustCompile(`(?im)^\s*Acquire::Check-Valid-Until\s+"?(false|no|0|off|without|disable)"?\s*;`)

// validUntilUnchecked tells whether the host's apt accepts expired indexes.
func validUntilUnchecked(dir string) (bool, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "apt.conf.d", "*"))
	if err != nil {
		return false, err
	}
	for _, path := range append(paths, filepath.Join(dir, "apt.conf")) {
		content, err := os.ReadFile(path)
		if err == nil && checkOff.Match(content) {
			return true, nil
		}
	}
	return false, nil
}

func isNo(value string) bool {
	switch strings.ToLower(value) {
	case "no", "false", "without", "off", "disable":
		return true
	}
	return false
}

func firstSet(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

// firstFile returns the first of the paths that is a file.
func firstFile(paths []string) string {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}
