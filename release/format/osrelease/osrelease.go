// Package osrelease reads os-release files (os-release(5)): shell assignments.
//
// In: the untrusted content of the file. Out: values by name. Refused, with the line: any shell syntax beyond assignments, a name
// twice (a shell would take the last, other readers the first), values with control characters, and ID and VERSION_ID that are none.
package osrelease

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/flatcar/oem-sysext/oem/host/foreign"
)

// MaxLength is the maximum length of a file in bytes. Real ones have less than 1 KiB.
const MaxLength = 64 << 10

var name = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// idPattern is what ID and VERSION_ID may have; pre-releases have a ~ and build numbers a + as well.
var idPattern = regexp.MustCompile(`^[a-z0-9._+~^-]*$`)

// Parse returns the values.
func Parse(content []byte) (map[string]string, error) {
	if len(content) > MaxLength {
		return nil, fmt.Errorf("os-release has %d bytes; wanted at most %d", len(content), MaxLength)
	}
	if !utf8.Valid(content) {
		return nil, errors.New("os-release is not UTF-8")
	}
	if bytes.ContainsRune(content, '\r') {
		return nil, errors.New("os-release has line breaks of another system (CR); wanted LF alone")
	}
	values := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, MaxLength+1)
	for number := 1; lines.Scan(); number++ {
		line := strings.Trim(lines.Text(), " \t")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, text, found := strings.Cut(line, "=")
		if !found || !name.MatchString(key) || key == "_" { // which a shell sets itself
			return nil, fmt.Errorf("os-release line %d: %.60q; wanted NAME=VALUE", number, line)
		}
		value, err := unquote(text)
		if err != nil {
			return nil, fmt.Errorf("os-release line %d: %s: %w", number, key, err)
		}
		if err := foreign.Check(value); err != nil {
			return nil, fmt.Errorf("os-release line %d: %s: %w; wanted one line of text", number, key, err)
		}
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("os-release line %d: %s is there twice; wanted once", number, key)
		}
		if (key == "ID" || key == "VERSION_ID") && !idPattern.MatchString(value) {
			return nil, fmt.Errorf("os-release line %d: %s is %q; wanted lower-case letters, digits, dots, underscores and hyphens", number, key, value)
		}
		values[key] = value
	}
	return values, lines.Err()
}

// unquote removes one pair of quotes. Within double quotes, a backslash escapes $ " \ and `.
func unquote(text string) (string, error) {
	var value strings.Builder
	var quote rune
	escaped := false
	for i, c := range text {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune("$\"\\`", c) {
				value.WriteByte('\\')
			}
			value.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped = true
		case c == quote:
			quote = 0
			if rest := text[i+1:]; rest != "" {
				return "", fmt.Errorf("%.20q follows the closing quote; wanted nothing", rest)
			}
		case quote == 0 && (c == '"' || c == '\''):
			if i > 0 {
				return "", fmt.Errorf("a quote within %.20q; wanted it around the value", text)
			}
			quote = c
		case quote == 0 && c == '~' && (i == 0 || text[i-1] == ':'):
			return "", errors.New("a shell takes ~ for a home directory here; quote it")
		case quote != '\'' && (c == '$' || c == '`'), quote == 0 && strings.ContainsRune(" \t;&|<>()", c):
			return "", fmt.Errorf("%q has a special meaning in a shell; quote it", c)
		default:
			value.WriteRune(c)
		}
	}
	if quote != 0 || escaped {
		return "", fmt.Errorf("%.20q ends within quotes", text)
	}
	return value.String(), nil
}
