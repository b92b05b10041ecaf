// Package input describes the inputs of trees and images.
package input

// Input is one input of a tree, by digest.
type Input struct {
	Kind    string `json:"kind"` // deb, go, url, github, binpkg or file
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Digest  string `json:"digest"` // "sha256:" and hexadecimal digits, or a module's "h1:" sum
}
