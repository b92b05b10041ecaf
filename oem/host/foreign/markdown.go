package foreign

import "strings"

// Code writes a name in Markdown so that nothing in it is read as Markdown, HTML, a link or a mention, in a table or out of it
// (GitHub Flavored Markdown, Code spans, and Tables about pipes).
func Code(name string) string {
	longest, run := 0, 0
	for _, r := range name {
		run++
		if r != '`' {
			run = 0
		}
		longest = max(longest, run)
	}
	fence := strings.Repeat("`", longest+1)
	space := ""
	if name == "" || strings.HasPrefix(name, "`") || strings.HasSuffix(name, "`") {
		space = " "
	}
	return fence + space + strings.ReplaceAll(Line(name), "|", `\|`) + space + fence
}

// Markdown writes a text in Markdown so that it looks like text: all punctuation that Markdown knows is escaped.
func Markdown(text string) string {
	var b strings.Builder
	for _, r := range Line(text) {
		if strings.ContainsRune("\\`*_{}[]<>()#+!|~&$@", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
