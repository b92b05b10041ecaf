package debian

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

func TestCompareVersions(t *testing.T) {
	for _, pair := range [][2]string{
		{"1.0~rc1", "1.0"}, {"1.0~~", "1.0~"}, {"1.0", "1.0+b1"}, {"1.0-1", "1.0-1+b1"}, {"1.0-1", "1.0-2"}, {"1.9", "1.10"},
		{"1.0", "1:0.1"}, {"9:1", "10:1"}, {"1.0a", "1.0+"}, {"1.0Z", "1.0a"}, {"2.36-9+deb12u9", "2.36-9+deb12u10"},
		{"1-1~deb13u1", "1-1"}, {"20240101", "99999999999999999999999"}, {"1.0-1-1", "1.0-2-1"}, {"1.0", "1.0-0.1"},
	} {
		if CompareVersions(pair[0], pair[1]) >= 0 || CompareVersions(pair[1], pair[0]) <= 0 {
			t.Errorf("%s is not before %s", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{{"1.0", "0:1.0"}, {"1.0", "1.0-0"}, {"1.01", "1.1"}, {"1.0", "1.00"}, {"", "0"}} {
		if CompareVersions(pair[0], pair[1]) != 0 {
			t.Errorf("%s does not equal %s", pair[0], pair[1])
		}
	}
}

// TestCompareVersionsAsDpkg asks the real one about random pairs that are near each other.
func TestCompareVersionsAsDpkg(t *testing.T) {
	needs.Programs(t, "dpkg")
	random := rand.New(rand.NewPCG(1, 2))
	operators := []string{"lt", "eq", "gt"}
	counts := map[string]int{}
	for range 600 {
		a := randomVersion(random)
		b := mutate(random, a)
		if strings.HasSuffix(a, "-") || strings.HasSuffix(b, "-") {
			continue // an empty revision is an error to dpkg
		}
		operator := operators[sign(CompareVersions(a, b))+1]
		counts[operator]++
		if !dpkgSays(t, a, operator, b) {
			t.Errorf("%s %s %s: dpkg says no", a, operator, b)
		}
	}
	if dpkgSays(t, "1", "gt", "2") || counts["lt"] < 50 || counts["eq"] < 50 || counts["gt"] < 50 {
		t.Errorf("this test proves little: %v", counts)
	}
}

func dpkgSays(t *testing.T, a, operator, b string) bool {
	t.Helper()
	return run.Run(t.Context(), run.Cmd{Program: "dpkg", Args: []string{"--compare-versions", a, operator, b}, Env: run.HostEnv("PATH")}) == nil
}

func randomVersion(random *rand.Rand) string {
	pieces := []string{"0", "1", "2", "9", "10", "00", "01", "a", "b", "Z", "~", "~~", "+", ".", ".", "-", "~rc1", "+deb12u1", "+b1", "~bpo"}
	version := []string{[]string{"", "", "0:", "1:", "00:"}[random.IntN(5)], []string{"0", "1", "20240101"}[random.IntN(3)]}
	for range random.IntN(6) {
		version = append(version, pieces[random.IntN(len(pieces))])
	}
	return strings.Join(append(version, []string{"", "-0", "-1"}[random.IntN(3)]), "")
}

// mutate changes little, so that comparisons get far.
func mutate(random *rand.Rand, version string) string {
	switch random.IntN(6) {
	case 0:
		return version + []string{"~", "+", "a", "0", ".0", "~1"}[random.IntN(6)]
	case 1:
		return strings.Replace(version, "0", "00", 1)
	case 2:
		return strings.Replace(version, "1", "2", 1)
	case 3:
		return strings.Replace(version, "~", "", 1)
	case 4:
		return strings.Replace(version, ".", "+", 1)
	default:
		return strings.TrimPrefix(version, "0:")
	}
}

func sign(n int) int { return max(-1, min(1, n)) }

func FuzzCompareVersions(f *testing.F) {
	f.Add("1:1.0~rc1-1", "1.0-1+b1", "2")
	f.Add("", "~", ":-")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, ba, bc, ac := sign(CompareVersions(a, b)), sign(CompareVersions(b, a)), sign(CompareVersions(b, c)), sign(CompareVersions(a, c))
		if CompareVersions(a, a) != 0 || ab != -ba {
			t.Errorf("%q and %q compare as %d and %d", a, b, ab, ba)
		}
		if ab == bc && ac != ab || ab == 0 && ac != bc {
			t.Errorf("no order: %q %q %q give %d %d %d", a, b, c, ab, bc, ac)
		}
	})
}
