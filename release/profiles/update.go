package profiles

import (
	"encoding/pem"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// Update configures from where machines of the release update, and the key that they trust. Missing keys stay as in the base.
type Update struct {
	Line   strictyaml.Line
	Key    strictyaml.Text `yaml:"key"`    // a PEM file, relative to the profile, with the public half of UPDATE_KEY
	Server strictyaml.Text `yaml:"server"` // the update server's address, such as https://example.org/v1/update/
	Group  strictyaml.Text `yaml:"group"`  // the machines' group: the track of one of Nebraska's groups
}

// validGroup matches names of groups, and Nebraska's ids of groups without one.
var validGroup = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (c *checker) update() {
	u := c.profile.Update
	switch {
	case u == nil:
		return
	case u.Key.Value == "" && u.Server.Value == "" && u.Group.Value == "":
		c.add(u.Line, "update: empty; wanted at least one of key, server and group")
	}
	if u.Key.Value != "" && c.beside(u.Key, false) && !holdsPublicKeyOnly(c.profile.Path(u.Key.Value)) {
		c.add(u.Key.Line, "%q does not contain exactly one public key in PEM; wanted the output of openssl pkey -pubout", u.Key)
	}
	if u.Server.Value != "" && !isEndpoint(u.Server.Value) {
		c.add(u.Server.Line, "server: wanted the http or https address of an Omaha server with its path, as Nebraska's https://example.org/v1/update/, without user, password, query and fragment")
	}
	if u.Group.Value != "" && !validGroup.MatchString(u.Group.Value) {
		c.add(u.Group.Line, "group %q; wanted letters, digits, dots, underscores and hyphens", u.Group)
	}
}

// holdsPublicKeyOnly refuses private keys, since this file is likely to be published.
func holdsPublicKeyOnly(path string) bool {
	content, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	block, rest := pem.Decode(content)
	more, _ := pem.Decode(rest)
	return block != nil && block.Type == "PUBLIC KEY" && more == nil
}

// isEndpoint reports whether update_engine can use an address. It reads a line without escapes and uses the address unchanged,
// so an address without a path would return a web page.
func isEndpoint(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && strings.Trim(u.Path, "/") != "" &&
		u.User == nil && !strings.ContainsAny(address, "?# '\"\\") && u.String() == address
}
