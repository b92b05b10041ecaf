package scripts

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// documents are all Markdown files of a checkout by name, without what was built.
func documents(t *testing.T, checkout fs.FS) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := fs.WalkDir(checkout, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", ".cache", "_output", "testdata"}, entry.Name()):
			return fs.SkipDir
		case path.Ext(name) == ".md" && entry.Type().IsRegular():
			content, err := fs.ReadFile(checkout, name)
			found[name] = string(content)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var (
	codeBlock = regexp.MustCompile("(?ms)^```.*?^```$")
	codeSpan  = regexp.MustCompile("`[^`\n]*`")
	link      = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading   = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInSlug = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// slugs are what GitHub calls the headings of a document in links.
func slugs(content string) (all []string) {
	for _, h := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(content, ""), -1) {
		all = append(all, strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
	}
	return all
}

// brokenLinks returns the relative links that lead to no file, or to no heading of a document.
func brokenLinks(t *testing.T, checkout fs.FS) (broken []string) {
	t.Helper()
	all := documents(t, checkout)
	for name, content := range all {
		text := codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(content, ""), "code")
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(found[1], ":") {
				continue
			}
			file, section, hasSection := strings.Cut(found[1], "#")
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
			}
			if _, err := fs.Stat(checkout, target); err != nil {
				broken = append(broken, name+": "+found[1])
			} else if hasSection && !slices.Contains(slugs(all[target]), section) {
				broken = append(broken, name+": "+found[1])
			}
		}
	}
	slices.Sort(broken)
	return broken
}

// Every relative link in a document leads somewhere.
func TestLinksOfDocuments(t *testing.T) {
	t.Parallel()
	broken := brokenLinks(t, fstest.MapFS{
		"README.md": {Data: []byte("[a](b/c.md#a-title-s) [b](b/none.md) [c](https://example.org/none) [d](#none) `[e](none)`\n" +
			"```\n# none\n[f](none)\n```\n## Own: title\n[g](#own-title) [h](b/c.md#none) [i](b)\n")},
		"b/c.md": {Data: []byte("# A title's\n[up](../README.md)")},
	})
	if want := []string{"README.md: #none", "README.md: b/c.md#a-title-s", "README.md: b/c.md#none", "README.md: b/none.md"}; !slices.Equal(broken, want) {
		t.Errorf("broken links are %q, wanted %q", broken, want)
	}
	for _, broken := range brokenLinks(t, os.DirFS("..")) {
		t.Errorf("%s leads nowhere", broken)
	}
}

// The README is read at a stretch. What describes one room lies there.
func TestLengthOfTheREADME(t *testing.T) {
	t.Parallel()
	const most = 200
	readme := documents(t, os.DirFS(".."))["README.md"]
	if lines := strings.Count(readme, "\n"); lines == 0 || lines > most {
		t.Errorf("README.md has %d lines; wanted at most %d: move tables to the README of what they describe", lines, most)
	}
}
