package foreign

import (
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"plain text, größer → 5":                 "plain text, größer → 5",
		"two\n\tlines\r\n":                       "two\n\tlines\n",
		"\x1b]0;title\x07\x1b[2J":                `\x1b]0;title\a\x1b[2J`,
		"over\rwritten":                          `over\rwritten`,
		"del\x7f csi\u009b2J":                    `del\x7f csi\u009b2J`,
		"not UTF-8 \xff\xc0":                     `not UTF-8 \xff\xc0`,
		"real \ufffd":                            "real \ufffd",
		"bidi \u202eexe.txt\u2066 \u200f":        `bidi \u202eexe.txt\u2066 \u200f`,
		"line\u2028paragraph\u2029":              `line\u2028paragraph\u2029`,
		"::error::x\n  ::add-mask::y\nstd::cout": `\x3a:error::x` + "\n  " + `\x3a:add-mask::y` + "\nstd::cout",
		"a ##[command]x":                         `a #\x23[command]x`,
	} {
		if got := Text(text); got != want {
			t.Errorf("Text(%q) = %q; wanted %q", text, got, want)
		}
	}
}

func TestLine(t *testing.T) {
	if got, want := Line("a\nb\tc\r"), `a\nb\tc\r`; got != want {
		t.Errorf("got %q; wanted %q", got, want)
	}
}

func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		"größer/x y":  "",
		"a\x1b]0;x":   "control",
		"a\nb":        "control",
		"a\u202eb":    "control",
		"a\xffb":      "UTF-8",
		"real \ufffd": "",
	} {
		err := Check(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v; wanted %q", text, err, want)
		}
	}
}

// FuzzText says that what is shown is safe, and stays as it is when it is shown again.
func FuzzText(f *testing.F) {
	f.Add("a\x1b[2J\n::error::\xff\u202e##[group]\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		shown := Text(text)
		for line := range strings.SplitSeq(strings.ReplaceAll(shown, "\t", " "), "\n") {
			if err := Check(line); err != nil || strings.HasPrefix(strings.TrimSpace(line), "::") || strings.Contains(line, "##[") {
				t.Errorf("%q is shown as %q: %v", text, line, err)
			}
		}
		if again := Text(shown); again != shown {
			t.Errorf("%q is shown as %q, and that as %q", text, shown, again)
		}
	})
}
