// Package yamledit changes single values of a YAML file and leaves every other byte as it is: comments, order, spacing.
package yamledit

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Set replaces the scalar at a path of keys (string) and positions in lists (int).
//
// The new value keeps the quotes of the old one. Refused are paths to anything but a scalar on one line, and values
// that would not be read back unchanged.
func Set(content []byte, value string, path ...any) ([]byte, error) {
	node, err := find(content, path)
	if err != nil {
		return nil, err
	}
	start, err := offset(content, node)
	if err != nil {
		return nil, err
	}
	quote := map[yaml.Style]string{yaml.SingleQuotedStyle: "'", yaml.DoubleQuotedStyle: `"`}[node.Style&^yaml.TaggedStyle]
	old := quote + node.Value + quote
	if !bytes.HasPrefix(content[start:], []byte(old)) {
		return nil, fmt.Errorf("line %d: the value of %v has escapes or several lines; change it by hand", node.Line, path)
	}
	changed := bytes.Join([][]byte{content[:start], []byte(quote + value + quote), content[start+len(old):]}, nil)
	if read, err := find(changed, path); err != nil || read.Value != value || read.Kind != yaml.ScalarNode {
		return nil, fmt.Errorf("line %d: %q cannot replace %s; change it by hand", node.Line, value, old)
	}
	return changed, nil
}

// find returns the scalar at a path.
func find(content []byte, path []any) (*yaml.Node, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, err
	}
	if len(document.Content) != 1 {
		return nil, fmt.Errorf("no value at %v", path)
	}
	node := document.Content[0]
	for _, step := range path {
		if node = child(node, step); node == nil {
			return nil, fmt.Errorf("no value at %v", path)
		}
	}
	if node.Kind != yaml.ScalarNode || strings.Contains(node.Value, "\n") {
		return nil, fmt.Errorf("line %d: %v is not a value on one line", node.Line, path)
	}
	return node, nil
}

func child(node *yaml.Node, step any) *yaml.Node {
	switch at := step.(type) {
	case int:
		if node.Kind == yaml.SequenceNode && at < len(node.Content) {
			return node.Content[at]
		}
	case string:
		for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == at {
				return node.Content[i+1]
			}
		}
	}
	return nil
}

// offset returns the byte offset of a node. YAML counts columns in characters.
func offset(content []byte, node *yaml.Node) (int, error) {
	start := 0
	for range node.Line - 1 {
		next := bytes.IndexByte(content[start:], '\n')
		if next < 0 {
			return 0, fmt.Errorf("no line %d", node.Line)
		}
		start += next + 1
	}
	line, _, _ := bytes.Cut(content[start:], []byte("\n"))
	characters := []rune(string(line))
	if node.Column-1 > len(characters) {
		return 0, fmt.Errorf("line %d has no column %d", node.Line, node.Column)
	}
	return start + len(string(characters[:node.Column-1])), nil
}
