package profiles

import (
	"encoding/pem"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// Update says where machines of the release get the next one, and whose signature they want on it. What is left out stays as the
// base has it.
type Update struct {
	Line   strictyaml.Line
	Key    strictyaml.Text `yaml:"key"`    // a PEM file beside the profile, with the public half of UPDATE_KEY
	Server strictyaml.Text `yaml:"server"` // the address that update_engine asks, such as https://example.org/v1/update/
	Group  strictyaml.Text `yaml:"group"`  // what it says there to belong to: the track of one of Nebraska's groups
}

// validGroup are names of groups, and the ids by which Nebraska knows those that have none.
var validGroup = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (c *checker) update() {
	u := c.profile.Update
	switch {
	case u == nil:
		return
	case u.Key.Value == "" && u.Server.Value == "" && u.Group.Value == "":
		c.add(u.Line, "update: nothing in it; wanted key, server, group, or some of them")
	}
	if u.Key.Value != "" && c.beside(u.Key, false) && !holdsPublicKeyOnly(c.profile.Path(u.Key.Value)) {
		c.add(u.Key.Line, "%q has no public key in PEM, or something else as well; wanted what openssl pkey -pubout writes", u.Key)
	}
	if u.Server.Value != "" && !isEndpoint(u.Server.Value) {
		c.add(u.Server.Line, "server: wanted the http or https address of an Omaha server with its path, as Nebraska's https://example.org/v1/update/, without user, password, query and fragment")
	}
	if u.Group.Value != "" && !validGroup.MatchString(u.Group.Value) {
		c.add(u.Group.Line, "group %q; wanted letters, digits, dots, underscores and hyphens", u.Group)
	}
}

// holdsPublicKeyOnly keeps private keys out of the file whose name invites to publish it.
func holdsPublicKeyOnly(path string) bool {
	content, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	block, rest := pem.Decode(content)
	more, _ := pem.Decode(rest)
	return block != nil && block.Type == "PUBLIC KEY" && more == nil
}

// isEndpoint tells whether update_engine can ask at an address. What it reads is a line without any escapes, and it takes
// the address as it is, so the one of the server alone would give a web page.
func isEndpoint(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && strings.Trim(u.Path, "/") != "" &&
		u.User == nil && !strings.ContainsAny(address, "?# '\"\\") && u.String() == address
}
